import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, test } from 'vitest';
import { createLocalTransactionTable, migrate, transaction, type AsyncHandle, type Handle } from '../../src/index.ts';
import {
  backends,
  BEGIN,
  connect,
  databasePath,
  isTaken,
  lockWriting,
  openRaw,
  rowsOf,
  setTime,
  type Backend,
} from '../support/backends.ts';
import { pass } from '../support/world.ts';

const DAY_MS = 86_400_000;

/**
 * One line is one story, absentMax 3. Steps: `record` (a transaction that records and commits), `begin` (one that records and stays open),
 * `commit`, `rollback`, `insert` (a plain insert by hand), `check` → its verdict, `restart` (new objects on new connections),
 * `lock`, `unlock` (somebody else writes). What a step throws is its code.
 */
const stories = `
record ok | check commit | check commit
check unknown | check unknown | check rollback | check rollback
check unknown | record ok | check commit
check unknown | check unknown | record ok | check commit
check unknown | check unknown | check rollback | record FENCED | check rollback
check unknown | restart | check unknown | restart | check rollback
check unknown | check unknown | insert ok | check commit
check unknown | check unknown | check rollback | insert TAKEN | check rollback
record ok | record ALREADY_RECORDED | check commit
begin ok | check unknown | check unknown | check unknown | check unknown | commit ok | check commit
check unknown | check unknown | begin ok | check unknown | commit ok | check commit
check unknown | check unknown | begin ok | check unknown | rollback ok | check rollback
lock ok | check unknown | check unknown | check unknown | check unknown | unlock ok | check unknown | check unknown | check rollback
record ok | lock ok | check commit | unlock ok
`;

/** Where a transaction that writes keeps every other from writing, no absence is counted while it is open; elsewhere it is one like any. */
const rolledBack = (oneWriter: boolean): string =>
  `begin ok | check unknown | rollback ok | check unknown |${oneWriter ? ' check unknown |' : ''} check rollback`;

async function story(backend: Backend, line: string): Promise<string> {
  const path = databasePath();
  const time = new ManualTime();
  setTime(path, time);
  const open = () => {
    const app = connect(backend, path);
    const asked = connect(backend, path);
    return { app, asked, table: createLocalTransactionTable(asked.handle, { clock: time }) };
  };
  const first = connect(backend, path);
  if (backend.can.dialect === 'sqlite') first.raw.exec('pragma journal_mode=wal');
  await migrate(first.handle);
  let here = open();
  const other = openRaw(path);
  const record = (tx: Handle) => here.table.record(tx, 'transfer', 'T1');
  const acts: Record<string, () => unknown> = {
    record: () => transaction(here.app.handle, record),
    begin: () => {
      here.app.raw.exec(BEGIN);
      return record(here.app.handle);
    },
    commit: () => void here.app.raw.exec('commit'),
    rollback: () => void here.app.raw.exec('rollback'),
    insert: () =>
      void other
        .prepare(
          "insert into tallystick_local_transaction (biz_type, biz_no, outcome, checks, at) values (?, 'T1', 'commit', 0, 0)",
        )
        .run(['transfer']),
    check: () => here.table.check('transfer', 'T1'),
    restart: () => void (here = open()),
    lock: () => void other.exec(lockWriting('tallystick_local_transaction')),
    unlock: () => void other.exec('commit'),
  };
  const seen: string[] = [];
  for (const step of line.split('|').map((part) => part.trim())) {
    const [act] = step.split(' ') as [string];
    let answer: unknown;
    try {
      answer = (await acts[act]!()) ?? 'ok';
    } catch (error) {
      answer = isTaken(error) ? 'TAKEN' : ((error as { code?: string }).code ?? error);
    }
    seen.push(act === 'restart' ? act : `${act} ${String(answer)}`);
  }
  return seen.join(' | ');
}

describe.each(backends)('the local-transaction table on $name', (backend) => {
  test.each([...stories.trim().split('\n'), rolledBack(backend.can.oneWriter)])('%s', async (line) => {
    expect(await story(backend, line)).toBe(line);
  });

  test('the real key stays free while absences are counted; the fence is a row of the format', async () => {
    const path = databasePath();
    const { raw, handle } = connect(backend, path);
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { clock: new ManualTime(42), absentMax: 2 });
    await table.check('transfer', 'T1');
    const rows = () => rowsOf(raw, 'select * from tallystick_local_transaction');
    expect(rows()).toEqual([{ biz_type: 'absent:transfer', biz_no: 'T1', outcome: 'absent', checks: 1, at: 42 }]);
    await table.check('transfer', 'T1');
    expect(rows()).toEqual([{ biz_type: 'transfer', biz_no: 'T1', outcome: 'rollback', checks: 2, at: 42 }]);
  });

  test('recording outside a transaction is refused', async () => {
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle);
    await expect((async () => table.record(handle, 'transfer', 'T1'))()).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    expect(rowsOf(raw, 'select * from tallystick_local_transaction')).toEqual([]);
  });

  test('a check on a handle with an open transaction answers unknown: its fence would not be committed', async () => {
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { absentMax: 1 });
    raw.exec('begin');
    expect(await table.check('transfer', 'T1')).toBe('unknown');
    raw.exec('commit');
    expect(rowsOf(raw, 'select * from tallystick_local_transaction')).toEqual([]);
  });

  test('a listener answers for the transaction a message names; what it cannot answer is unknown, and told', async () => {
    const { handle } = connect(backend, databasePath());
    await migrate(handle);
    const errors: unknown[] = [];
    const table = createLocalTransactionTable(handle, { onError: (error) => errors.push(error) });
    await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', 'T1'));
    const listener = table.listener(({ headers }) => ({ bizType: 'transfer', bizNo: headers.get('serial')! }));
    expect(await listener.check({ id: 'm1', headers: new Map([['serial', 'T1']]) })).toBe('commit');
    expect(await listener.check({ id: 'm2', headers: new Map([['serial', 'T2']]) })).toBe('unknown');
    expect(await listener.check({ id: 'm3', headers: new Map() })).toBe('unknown');
    expect(errors).toMatchObject([{ code: 'BAD_KEY' }]);
  });

  test('old verdicts can be forgotten', async () => {
    const time = new ManualTime();
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { clock: time });
    await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', 'old'));
    time.advance(10_000);
    await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', 'new'));
    expect(await table.forget(5000)).toBe(1);
    expect(rowsOf(raw, 'select biz_no from tallystick_local_transaction')).toEqual([{ biz_no: 'new' }]);
  });

  test('a commit is answered however late the check-back comes, when nobody has said that it may be forgotten', async () => {
    const time = new ManualTime();
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { clock: time, timers: time });
    await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', 'parked'));
    await pass(time, 400 * DAY_MS, 100 * DAY_MS);
    expect(await table.check('transfer', 'other')).toBe('unknown');
    await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', 'young'));
    await pass(time, 2_000, 1_000);
    expect(await table.check('transfer', 'parked')).toBe('commit');
    expect([
      rowsOf(raw, "select biz_no from tallystick_local_transaction where outcome = 'commit'").length,
      time.timersWaiting,
    ]).toEqual([2, 0]);
  });

  test('a check-back forgets nothing: it may be the first one in months, and many to come', async () => {
    const time = new ManualTime();
    const { handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { clock: time, timers: time, keepMs: DAY_MS });
    for (const bizNo of ['1', '2']) await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', bizNo));
    await pass(time, 2_000, 1_000);
    time.advance(2 * DAY_MS);
    for (const bizNo of ['1', '2']) {
      expect(await table.check('transfer', bizNo)).toBe('commit');
      await pass(time, 2_000, 1_000);
    }
  });

  test('old verdicts go by themselves after keepMs, in bounded steps, the oldest first', async () => {
    const time = new ManualTime();
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    const table = createLocalTransactionTable(handle, { clock: time, timers: time, keepMs: DAY_MS });
    const record = async (bizNo: string): Promise<void> => {
      await transaction(handle, (tx: Handle) => table.record(tx, 'transfer', bizNo));
      time.advance(1);
    };
    const left = (): unknown[] =>
      rowsOf(raw, 'select biz_no from tallystick_local_transaction order by at').map(({ biz_no }) => biz_no);
    for (const bizNo of ['1', '2', '3', '4', '5']) await record(bizNo);
    await pass(time, DAY_MS / 2, DAY_MS / 2);
    expect([await table.forget(1000, 2), left()]).toEqual([2, ['3', '4', '5']]);
    await pass(time, DAY_MS / 2, DAY_MS / 2);
    await record('young');
    await pass(time, 2_000, 1_000);
    expect([left(), time.timersWaiting]).toEqual([['young'], 0]);
    expect(() => table.forget(1000, 0)).toThrow(RangeError);
  });
});

test('a commit that slips in between the look and the fence wins: the fence is only believed when its insert won', async () => {
  const path = databasePath();
  const other = openRaw(path);
  const { handle } = connect(
    backends.find(({ kind }) => kind === 'async')!,
    path,
  );
  await migrate(handle);
  let slipIn = false;
  const raced: AsyncHandle = {
    ...(handle as AsyncHandle),
    execute: (sql, parameters) => {
      if (slipIn && sql.startsWith('begin')) {
        other.exec("insert into tallystick_local_transaction values ('transfer', 'T1', 'commit', 0, 0)");
      }
      return (handle as AsyncHandle).execute(sql, parameters);
    },
  };
  const table = createLocalTransactionTable(raced, { absentMax: 2 });
  expect(await table.check('transfer', 'T1')).toBe('unknown');
  slipIn = true;
  expect(await table.check('transfer', 'T1')).toBe('commit');
  expect(rowsOf(other, 'select biz_type, outcome from tallystick_local_transaction')).toEqual([
    { biz_type: 'transfer', outcome: 'commit' },
  ]);
});

test.each([
  ['', 'T1'],
  ['x'.repeat(58), 'T1'],
  ['absent:transfer', 'T1'],
  ['transfer', ''],
  ['transfer', 'x'.repeat(129)],
  ['transfer', 'a\0'],
])('the business key %j %j is refused', async (bizType, bizNo) => {
  const { handle } = connect(backends[0]!, databasePath());
  await migrate(handle);
  const table = createLocalTransactionTable(handle);
  expect(() => table.check(bizType, bizNo)).toThrow(expect.objectContaining({ code: 'BAD_KEY' }) as Error);
});
