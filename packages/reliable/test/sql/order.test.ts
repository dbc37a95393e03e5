import { AsyncResource } from 'node:async_hooks';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createInbox, createOutbox, migrate, transaction, type AsyncHandle, type OnceResult } from '../../src/index.ts';
import { backends, connect, databasePath, rowsOf, type Connection } from '../support/backends.ts';

const message = { topic: 'orders', body: Buffer.from('{}') };

/** Runs a function as a queue or a pool would that was made before: without the context of whoever hands it in. */
const outside = AsyncResource.bind(<T>(work: () => T): T => work());

describe.each(backends.filter(({ kind, can }) => kind === 'async' && can.commitAfterFailure))('on $name', (backend) => {
  let at: Connection;
  beforeEach(async () => {
    at = connect(backend, databasePath());
    await migrate(at.handle);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => vi.useRealTimers());

  test.each([
    ['a message', (tx: AsyncHandle) => createOutbox(at.handle).in(tx).add(message)],
    ['another key', (tx: AsyncHandle) => createInbox(at.handle).once(tx, 'inner', () => 'done')],
  ])('%s that waits for the work it is part of is refused in the end, and undone with it', async (_, inner) => {
    const inbox = createInbox(at.handle);
    const tx = at.handle as AsyncHandle;
    const ended = transaction(tx, async () => {
      const once = inbox.once(tx, 'key', () => outside(() => inner(tx) as Promise<unknown>));
      const refused = await once.then(
        () => undefined,
        (error: unknown) => error,
      );
      // Later ones of the transaction go on.
      await createOutbox(at.handle).in(tx).add(message);
      return refused;
    });
    let over = false;
    void ended.finally(() => (over = true)).catch(() => undefined);
    for (let waited = 0; waited < 60 && !over; waited++) await vi.advanceTimersByTimeAsync(1_000);
    expect(over).toBe(true);
    expect(await ended).toMatchObject({ code: 'TURN_TIMEOUT' });
    expect(rowsOf(at.raw, 'select * from tallystick_inbox')).toEqual([]);
    expect(rowsOf(at.raw, 'select * from tallystick_outbox')).toHaveLength(1);
  });

  test('who waited in vain lets nobody before him', async () => {
    const inbox = createInbox(at.handle);
    const tx = at.handle as AsyncHandle;
    const log: string[] = [];
    let go!: () => void;
    const held = new Promise<void>((resolve) => (go = resolve));
    const ended = transaction(tx, async () => {
      const long = inbox.once(tx, 'long', async () => {
        log.push('begins');
        await held;
        log.push('ends');
      });
      const late = inbox.once(tx, 'late', () => void log.push('late')).catch(({ code }: { code: string }) => void log.push(code));
      await late;
      const next: Promise<OnceResult<void>> = inbox.once(tx, 'next', () => void log.push('next'));
      go();
      await Promise.all([long, next]);
    });
    let over = false;
    void ended.finally(() => (over = true)).catch(() => undefined);
    for (let waited = 0; waited < 60 && !over; waited++) await vi.advanceTimersByTimeAsync(1_000);
    expect(over).toBe(true);
    await ended;
    expect(log).toEqual(['begins', 'TURN_TIMEOUT', 'ends', 'next']);
  });
});
