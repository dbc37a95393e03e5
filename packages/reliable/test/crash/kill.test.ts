import { fork, type ChildProcess } from 'node:child_process';
import { systemClock } from '@tallystick/base/node';
import { expect, test } from 'vitest';
import { createInbox, createOutbox, createRelay, migrate, transaction, verifyDurability } from '../../src/index.ts';
import { databasePath, openRaw, rowsOf } from '../support/backends.ts';
import { MemoryTransport } from '../support/memory-transport.ts';

/**
 * Real processes, real files, real SIGKILL. A bank commits a business row and a message in one transaction and dies at a named point;
 * another process sweeps up. What must hold: the message has an effect exactly when the business row is there, and one effect only.
 */
const points = [
  { point: 'before-commit', committed: false, pushedByTheDead: false },
  { point: 'after-commit', committed: true, pushedByTheDead: false },
  { point: 'in-push', committed: true, pushedByTheDead: false },
  { point: 'after-push', committed: true, pushedByTheDead: true },
];

test.each(points)(
  'killed $point: the message arrives exactly if it was committed, and once',
  async ({ point, committed, pushedByTheDead }) => {
    const path = databasePath();
    const db = openRaw(path, 5000);
    verifyDurability(db);
    migrate(db);
    db.exec('create table business (state text)');

    const { signal, pushed } = await runUntilKilled(path, point);
    expect(signal).toBe('SIGKILL');
    expect(pushed).toHaveLength(pushedByTheDead ? 1 : 0);
    expect(rowsOf(db, 'select state from business')).toEqual(committed ? [{ state: 'done' }] : []);

    // The dead one's lease (1 s) may have to run out: the heir's clock is ahead by a minute instead of the test waiting.
    const broker = new MemoryTransport();
    const heir = createRelay({
      db: openRaw(path, 5000),
      transport: broker,
      clock: { ...systemClock, now: () => Date.now() + 60_000 },
    });
    await heir.drain();
    await heir.stop();
    expect(broker.storedTexts).toEqual(committed ? ['must arrive'] : []);
    expect(rowsOf(db, 'select * from tallystick_outbox')).toEqual([]);

    // A push that the dead one made is repeated under the same id, and the receiver's inbox absorbs it.
    const ids = [...pushed, ...broker.stored.map(({ id }) => id)];
    const receiver = openRaw(databasePath());
    migrate(receiver);
    const inbox = createInbox(receiver);
    const results = ids.map((id) => transaction(receiver, (tx) => inbox.once(tx, id, () => id).outcome));
    expect(results.filter((outcome) => outcome === 'done')).toHaveLength(committed ? 1 : 0);
    expect(rowsOf(db, 'pragma integrity_check')).toEqual([{ integrity_check: 'ok' }]);
  },
);

test('stopped with a push in flight and replaced: its confirmation is fenced, the heir’s verdict stays', async () => {
  const path = databasePath();
  const db = openRaw(path, 5000);
  verifyDurability(db);
  migrate(db);
  const outbox = createOutbox(db);
  const id = transaction(db, (tx) => outbox.in(tx).add({ topic: 't', key: 'k', body: 'b' }));

  const child = forked('relay', path);
  expect(await messageOf(child)).toEqual([id]);
  child.kill('SIGSTOP');
  const broker = new MemoryTransport();
  broker.answer = () => ({ outcome: 'rejected', reason: 'the heir says no' });
  const ahead = { ...systemClock, now: () => Date.now() + 60_000 };
  const heir = createRelay({ db: openRaw(path, 5000), transport: broker, clock: ahead, attemptsMax: 1 });
  await heir.drain();
  child.send('confirm');
  child.kill('SIGCONT');
  const counters = await messageOf(child);
  expect(counters).toMatchObject({ fenced: 1, confirmed: 0 });
  expect(rowsOf(db, 'select state, last_error from tallystick_outbox')).toEqual([
    { state: 'dead', last_error: 'the heir says no' },
  ]);
  await heir.stop();
});

function forked(...args: string[]): ChildProcess {
  return fork(new URL('../support/child.ts', import.meta.url), args, {
    execArgv: ['--import', new URL('../../../cli/bin/sources.js', import.meta.url).href],
    stdio: 'inherit',
  });
}

function messageOf(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => child.once('message', resolve));
}

async function runUntilKilled(path: string, point: string): Promise<{ signal: NodeJS.Signals | null; pushed: string[] }> {
  const pushed: string[] = [];
  const child = forked('add', path, point);
  child.on('message', (ids) => pushed.push(...(ids as string[])));
  const signal = await new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_code, by) => resolve(by)));
  // What the child had sent before it died is in the channel; it is read to its end before the channel closes.
  if (child.connected) await new Promise<void>((resolve) => child.once('disconnect', () => resolve()));
  return { signal, pushed };
}
