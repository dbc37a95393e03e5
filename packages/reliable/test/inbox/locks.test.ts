import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { describe, expect, test } from 'vitest';
import { createLocks, migrate, transaction, type Handle, type HeldLock, type Locks } from '../../src/index.ts';
import { backends, connect, databasePath, rowsOf, setTime, type Backend, type Connection } from '../support/backends.ts';
import { inboxWorld, pass, settle } from './inbox-world.ts';

const both = backends.filter(({ name }) => name === 'a libsql handle' || name === 'an asynchronous handle');

interface Here extends Connection {
  readonly time: ManualTime;
  readonly locks: Locks;
  readonly others: Locks;
}

async function here(backend: Backend): Promise<Here> {
  const path = databasePath();
  const time = new ManualTime();
  const connection = connect(backend, path);
  connection.raw.exec('pragma journal_mode=wal');
  await migrate(connection.handle);
  setTime(path, time);
  const ports = (seed: number) => ({ clock: time, timers: time, random: seededRandom(seed) });
  return {
    ...connection,
    time,
    locks: createLocks(connection.handle, ports(1)),
    others: createLocks(connect(backend, path).handle, ports(2)),
  };
}

const leases = ({ raw }: Connection): number => Number(rowsOf(raw, 'select count(*) as n from tallystick_lease')[0]!['n']);

describe.each(both)('a business lock on $name', (backend) => {
  test('has one holder per name; it goes when the work ends, also when it throws', async () => {
    const at = await here(backend);
    const inside = await at.locks.with('account:7', {}, async ({ name }) => {
      await expect(at.others.with('account:7', { lockWaitMs: 0 }, () => 'both')).rejects.toMatchObject({ code: 'LOCK_BUSY' });
      return [name, await at.others.with('account:8', { lockWaitMs: 0 }, () => 'beside')];
    });
    expect(inside).toEqual(['account:7', 'beside']);
    await expect(at.locks.with('account:7', {}, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await at.others.with('account:7', { lockWaitMs: 0 }, () => 'next')).toBe('next');
    expect(leases(at)).toBe(0);
  });

  test('whose holder died before the clock was set back keeps nobody waiting; a longer hold of the present does', async () => {
    const at = await here(backend);
    const hold = (name: string, ms: number): void =>
      void at.raw.exec(`insert into tallystick_lease values ('lock:${name}', 0, 0, 'x', 7, ${at.time.now() + ms})`);
    hold('dead', 86_400_000);
    hold('long', 3_600_000);
    expect(await at.locks.with('dead', { lockWaitMs: 0 }, ({ epoch }) => epoch > 7)).toBe(true);
    await expect(at.locks.with('long', { lockWaitMs: 0 }, () => 'both')).rejects.toMatchObject({ code: 'LOCK_BUSY' });
  });

  test('is waited for as long as wanted and no longer', async () => {
    const at = await here(backend);
    let free = (): void => undefined;
    const held = at.locks.with('a', {}, () => new Promise<void>((resolve) => (free = resolve)));
    const outcomes: string[] = [];
    for (const lockWaitMs of [100, 2000])
      void at.others
        .with('a', { lockWaitMs }, () => outcomes.push(`${lockWaitMs} got it`))
        .catch((error: { code: string }) => {
          outcomes.push(`${lockWaitMs} ${error.code}`);
        });
    await pass(at.time, 600);
    expect(outcomes).toEqual(['100 LOCK_BUSY']);
    free();
    await pass(at.time, 600);
    await held;
    expect(outcomes).toEqual(['100 LOCK_BUSY', '2000 got it']);
  });

  test('of a holder that was paused past its time goes to the next one, and the holder’s transaction is fenced', async () => {
    const at = await here(backend);
    at.raw.exec('create table effect (name text)');
    let resume = (): void => undefined;
    const commit = async (lock: HeldLock): Promise<unknown> =>
      transaction(at.handle, (tx: Handle) => {
        at.raw.exec("insert into effect values ('of the paused one')");
        return lock.verify(tx) as unknown;
      });
    const epochs: number[] = [];
    const paused = at.locks.with('a', { lockHoldMs: 1000 }, async (lock) => {
      epochs.push(lock.epoch);
      await new Promise<void>((resolve) => (resume = resolve));
      return commit(lock);
    });
    const outcome = paused.catch((error: { code: string }) => error.code);
    await settle(at.time);
    at.time.advance(999);
    await expect(at.others.with('a', { lockWaitMs: 0 }, () => 1)).rejects.toMatchObject({ code: 'LOCK_BUSY' });
    at.time.advance(1);
    await at.others.with('a', {}, async ({ epoch }) => {
      epochs.push(epoch);
      resume();
      await settle(at.time);
      expect(await outcome).toBe('LOCK_LOST');
      // The late holder's release has not taken the lock from its new holder.
      expect(leases(at)).toBe(1);
    });
    expect(epochs[1]).toBeGreaterThan(epochs[0]!);
    expect(rowsOf(at.raw, 'select * from effect')).toEqual([]);
  });

  test('that nobody else has taken is still the holder’s, however late', async () => {
    const at = await here(backend);
    const done = at.locks.with('a', { lockHoldMs: 1000 }, async (lock) => {
      at.time.advance(60_000);
      await transaction(at.handle, (tx: Handle) => lock.verify(tx) as unknown);
      return 'committed';
    });
    expect(await done).toBe('committed');
  });

  test('fences also when the row was released and deleted by those who had it meanwhile', async () => {
    const at = await here(backend);
    const outcome = at.locks.with('a', { lockHoldMs: 10 }, async (lock) => {
      at.time.advance(10);
      await at.others.with('a', {}, () => undefined);
      expect(leases(at)).toBe(0);
      return transaction(at.handle, (tx: Handle) => lock.verify(tx) as unknown);
    });
    await expect(outcome).rejects.toMatchObject({ code: 'LOCK_LOST' });
  });

  test('has a name that fits, and options that are known', async () => {
    const at = await here(backend);
    await expect(at.locks.with('', {}, () => 1)).rejects.toMatchObject({ code: 'BAD_KEY' });
    await expect(at.locks.with('x'.repeat(251), {}, () => 1)).rejects.toMatchObject({ code: 'BAD_KEY' });
    await expect(at.locks.with('x', { holdMs: 5 } as never, () => 1)).rejects.toThrow(/holdMs is not an option/);
  });
});

describe.each(both)('a handler’s lock on $name', (backend) => {
  test('is held while it works and given back with its commit, or after its failure', async () => {
    const at = await inboxWorld(backend);
    const held: string[] = [];
    at.inbox.handle(
      'debit',
      ({ id }) => {
        held.push(
          ...rowsOf(at.raw, "select scope from tallystick_lease where scope like 'lock:%'").map(({ scope }) => String(scope)),
        );
        if (id === 'M2') throw new Error('no');
      },
      { lock: ({ key }) => `account:${key}` },
    );
    await at.receive({ key: '7' });
    await at.receive({ id: 'M2', key: '8' });
    expect(held).toEqual(['lock:account:7', 'lock:account:8']);
    expect(leases(at)).toBe(0);
  });

  test('that is busy puts the message into the retry table, without counting a failure, and says when that lasts', async () => {
    const at = await inboxWorld(backend, {
      lockWaitMs: 0,
      retryFirstMs: 100,
      retryMaxMs: 100,
      stuckAfterTries: 3,
      attemptsMax: 2,
    });
    at.inbox.handle('debit', ({ id }) => at.effect(id), { lock: () => 'one' });
    at.raw.exec(`insert into tallystick_lease values ('lock:one', 0, 0, 'somebody', 1, ${at.time.now() + 1000})`);
    await at.receive({});
    at.inbox.start();
    await pass(at.time, 900);
    expect([at.effects(), at.rows()]).toEqual([[], ['retrying 0/1/1 busy']]);
    at.raw.exec("update tallystick_lease set expires_at = expires_at + 6000 where owner = 'somebody'");
    await pass(at.time, 4000);
    expect(at.alarms.map(({ kind }) => kind)).toEqual(['stuck']);
    await pass(at.time, 5000);
    expect(at.effects()).toEqual(['M1']);
  });

  test('that is lost in the middle of the work undoes the work', async () => {
    const at = await inboxWorld(backend, { retryFirstMs: 100 });
    let steal = true;
    at.inbox.handle(
      'debit',
      ({ id }) => {
        at.effect(id);
        // As another process would, after the hold time.
        if (steal) at.raw.exec("update tallystick_lease set owner = 'thief', epoch = epoch + 1 where scope = 'lock:one'");
      },
      { lock: () => 'one' },
    );
    await at.receive({});
    expect([at.effects(), at.rows()]).toEqual([[], ['retrying 1/1/1 conflict']]);
    steal = false;
    at.time.advance(100);
    await at.during(at.inbox.drain());
    expect(at.effects()).toEqual(['M1']);
  });

  test('whose name throws is a failure of the message', async () => {
    const at = await inboxWorld(backend);
    at.inbox.handle('debit', ({ id }) => at.effect(id), { lock: ({ body }) => JSON.parse(Buffer.from(body).toString()).account });
    await at.receive({ body: Buffer.from('no json') });
    await at.receive({ id: 'M2', body: Buffer.from('{}') });
    expect([at.effects(), at.rows()]).toEqual([[], ['retrying 1/1/1 failed', 'retrying 1/1/1 failed']]);
  });
});

test('locks whose holders died are swept away with the old keys', async () => {
  const at = await inboxWorld(both[0]!);
  at.raw.exec(`insert into tallystick_lease values ('lock:dead', 0, 0, 'x', 1, 5), ('other', 0, 0, 'x', 1, 5)`);
  at.inbox.start();
  await pass(at.time, 100);
  expect(rowsOf(at.raw, "select scope from tallystick_lease where owner = 'x'")).toEqual([{ scope: 'other' }]);
});
