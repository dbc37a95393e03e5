import { ManualTime } from '@tallystick/base/testing';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createInbox, migrate, transaction, type Handle, type Inbox } from '../../src/index.ts';
import {
  backends,
  BEGIN,
  connect,
  databasePath,
  onlySqlite,
  onPostgres,
  openRaw,
  rowsOf,
  setTime,
  type Backend,
  type Connection,
} from '../support/backends.ts';

interface Here extends Connection {
  readonly path: string;
  readonly time: ManualTime;
  readonly inbox: Inbox<Handle>;
  /** Runs work that adds one to the effects, once per key, in a transaction of its own. */
  effect(key: string, inbox?: Inbox<Handle>): Promise<string>;
  effects(): number;
}

async function bank(backend: Backend): Promise<Here> {
  const path = databasePath();
  const time = new ManualTime();
  const connection = connect(backend, path);
  await migrate(connection.handle);
  if (backend.can.dialect === 'sqlite') connection.raw.exec('pragma journal_mode=wal');
  connection.raw.exec('create table effect (key text)');
  setTime(path, time);
  const inbox = createInbox(connection.handle, { clock: time, consumer: 'ledger' });
  // Before the connection is closed, or it forgets on a closed one, which libsql does not survive.
  onTestFinished(() => inbox.stop());
  const { raw, handle } = connection;
  const work = (key: string) => (): string => {
    raw.prepare('insert into effect values (?)').run([key]);
    return `did ${key}`;
  };
  return {
    ...connection,
    path,
    time,
    inbox,
    effect: async (key, by = inbox) => {
      const result = await transaction(handle, (tx: Handle) => by.once(tx, key, work(key)));
      return result.outcome === 'done' ? result.value : result.outcome;
    },
    effects: () => rowsOf(raw, 'select * from effect').length,
  };
}

async function codeOf(call: () => unknown): Promise<string | undefined> {
  try {
    await call();
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).message;
  }
  return undefined;
}

describe.each(backends)('the inbox on $name', (backend) => {
  test('does the work of a key once; a repeat is told apart and does nothing', async () => {
    const here = await bank(backend);
    expect([await here.effect('m1'), await here.effect('m1'), await here.effect('m2'), here.effects()]).toEqual([
      'did m1',
      'duplicate',
      'did m2',
      2,
    ]);
  });

  test('answers at once on a synchronous handle, with a promise on an asynchronous one', async () => {
    const here = await bank(backend);
    here.raw.exec('begin');
    const answer = here.inbox.once(here.handle, 'm1', () => 7) as unknown;
    expect(answer instanceof Promise).toBe(backend.kind === 'async');
    expect(await answer).toEqual({ outcome: 'done', value: 7 });
    here.raw.exec('commit');
  });

  test('a transaction that is rolled back has seen nothing: the repeat does the work', async () => {
    const here = await bank(backend);
    here.raw.exec('begin');
    await here.inbox.once(here.handle, 'm1', () => here.raw.exec("insert into effect values ('m1')"));
    here.raw.exec('rollback');
    expect([here.effects(), await here.effect('m1'), here.effects()]).toEqual([0, 'did m1', 1]);
  });

  test('work that throws leaves neither effect nor key, even if the caller commits', async () => {
    const here = await bank(backend);
    here.raw.exec("begin; insert into effect values ('of the caller')");
    const failing = (): never => {
      here.raw.exec("insert into effect values ('half')");
      throw new Error('insufficient funds');
    };
    expect(await codeOf(() => here.inbox.once(here.handle, 'm1', failing))).toBe('insufficient funds');
    here.raw.exec('commit');
    expect(rowsOf(here.raw, 'select key from effect')).toEqual([{ key: 'of the caller' }]);
    expect(await here.effect('m1')).toBe('did m1');
  });

  test('throws outside a transaction, and does not do the work', async () => {
    const here = await bank(backend);
    let ran = false;
    expect(await codeOf(() => here.inbox.once(here.handle, 'm1', () => (ran = true)))).toBe('NOT_IN_TRANSACTION');
    expect([ran, rowsOf(here.raw, 'select count(*) as n from tallystick_inbox')]).toEqual([false, [{ n: 0 }]]);
  });

  test('two consumers in one database each see a message once', async () => {
    const here = await bank(backend);
    const audit = createInbox(here.handle, { clock: here.time, consumer: 'audit' });
    onTestFinished(() => audit.stop());
    expect([await here.effect('m1'), await here.effect('m1', audit), await here.effect('m1', audit)]).toEqual([
      'did m1',
      'did m1',
      'duplicate',
    ]);
  });

  test.each(['', 'x'.repeat(129), 'a\0b', 5 as never])('refuses the key %j', async (key) => {
    const here = await bank(backend);
    here.raw.exec('begin');
    expect(await codeOf(() => here.inbox.once(here.handle, key, () => 1))).toBe('BAD_KEY');
    here.raw.exec('rollback');
  });

  test('forgets keys by age, in bounded steps, and only its own consumer’s', async () => {
    const here = await bank(backend);
    const audit = createInbox(here.handle, { clock: here.time, consumer: 'audit' });
    onTestFinished(() => audit.stop());
    await here.effect('other', audit);
    for (const key of ['a', 'b', 'c']) await here.effect(key);
    here.time.advance(10_000);
    await here.effect('young');
    expect(await here.inbox.forget(5000, 2)).toBe(2);
    expect(await here.inbox.forget(5000, 2)).toBe(1);
    expect(await here.inbox.forget(5000, 2)).toBe(0);
    expect([await here.effect('young'), await here.effect('other', audit), await here.effect('a')]).toEqual([
      'duplicate',
      'duplicate',
      'did a',
    ]);
  });

  test('a key that comes again and again is not forgotten; what is rolled back leaves it as old as it was', async () => {
    const here = await bank(backend);
    const dayMs = 86_400_000;
    const keepKeysMs = 30 * dayMs;
    for (const key of ['m1', 'never again']) await here.effect(key);
    const answers = new Set<string>();
    let forgotten = 0;
    for (let day = 10; day <= 100; day += 10) {
      here.time.advance(10 * dayMs);
      forgotten += await here.inbox.forget(keepKeysMs);
      answers.add(await here.effect('m1'));
    }
    expect([[...answers], here.effects(), forgotten]).toEqual([['duplicate'], 2, 1]);
    here.time.advance(20 * dayMs);
    here.raw.exec('begin');
    expect(await here.inbox.once(here.handle, 'm1', () => 1)).toEqual({ outcome: 'duplicate' });
    here.raw.exec('rollback');
    here.time.advance(11 * dayMs);
    expect(await here.inbox.forget(keepKeysMs)).toBe(1);
  });
});

test.each(backends.filter(({ kind }) => kind === 'sync'))(
  'asynchronous work on $name is refused and leaves no key',
  async (backend) => {
    const here = await bank(backend);
    here.raw.exec('begin');
    expect(await codeOf(() => here.inbox.once(here.handle, 'm1', async () => 1))).toBe('ASYNC_IN_SYNC');
    expect(await codeOf(() => here.inbox.once(here.handle, 'm1', () => Promise.resolve(1)))).toBe('ASYNC_IN_SYNC');
    here.raw.exec('commit');
    expect(await here.effect('m1')).toBe('did m1');
  },
);

test('asynchronous work on an asynchronous handle is awaited, and its value returned', async () => {
  const here = await bank(backends.find(({ kind }) => kind === 'async')!);
  const result = await transaction(here.handle, (tx: Handle) =>
    here.inbox.once(tx, 'm1', () => new Promise<number>((resolve) => setImmediate(() => resolve(7)))),
  );
  expect(result).toEqual({ outcome: 'done', value: 7 });
});

test.each(onlySqlite)('a transaction that met a lock can be rolled back and tried again on $name', async (backend) => {
  // A prepared libsql statement that met a lock stays "in progress" and makes every later commit fail.
  const here = await bank(backend);
  const other = openRaw(here.path);
  other.exec('begin immediate');
  here.raw.exec('begin');
  expect(await codeOf(() => here.inbox.once(here.handle, 'm1', () => 1))).toBe('SQLITE_BUSY');
  here.raw.exec('commit');
  other.exec('commit');
  expect([await here.effect('m1'), await here.effect('m1')]).toEqual(['did m1', 'duplicate']);
});

test('however deliveries repeat and transactions fail, effects per key are at most one, and one after a committed delivery', async () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c'), fate: fc.constantFrom('commit', 'rollback', 'throw') });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const here = await bank(backends[0]!);
      const committed = new Set<string>();
      for (const { key, fate } of steps) {
        here.raw.exec(BEGIN);
        await codeOf(() =>
          here.inbox.once(here.handle, key, () => {
            here.raw.prepare('insert into effect values (?)').run([key]);
            if (fate === 'throw') throw new Error('no');
          }),
        );
        here.raw.exec(fate === 'rollback' ? 'rollback' : 'commit');
        if (fate === 'commit') committed.add(key);
        const counts = rowsOf(here.raw, 'select key, count(*) as n from effect group by key order by key');
        expect(counts).toEqual([...committed].sort().map((name) => ({ key: name, n: 1 })));
      }
      here.raw.close();
    }),
    { numRuns: onPostgres ? 5 : 40 },
  );
});
