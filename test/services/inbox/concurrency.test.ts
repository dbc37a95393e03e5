/**
 * Many workers, one effect. Each judge is first shown a consumer that is wrong in the way the guard is there for, and must find it out:
 * a judge that a wrong program passes proves nothing of the right one.
 */
import { describe, expect, test } from 'vitest';
import { updateVersion, type Delivery, type Inbox } from '@tallystick/reliable';
import type { Pool } from 'pg';
import { bank, delivery, ROWS, type Bank, type Tx } from './bank.ts';

const WORKERS = 8;

/** The same messages to all workers at the same time; the name and number of effects that are not exactly one. */
async function judgeEffects(
  here: Bank,
  ids: readonly string[],
  workers: readonly ((message: Delivery) => Promise<unknown>)[],
): Promise<string[]> {
  for (const id of ids) await Promise.all(workers.map((work, i) => work(delivery(id, { redelivered: i % 3 === 2 }))));
  const found = new Map(
    (await here.rows("select name || ' ' || count(*) from effect group by name")).map(
      (row) => row.split(' ') as [string, string],
    ),
  );
  return ids.filter((id) => found.get(id) !== '1').map((id) => `${id} ${found.get(id) ?? 0}`);
}

const ids = Array.from({ length: 20 }, (_, i) => `M${i}`);

/** Looks whether the effect is there and then makes it: right as long as there is one worker. */
async function checkThenAct(pool: Pool, { id }: Delivery): Promise<void> {
  const { rowCount } = await pool.query('select 1 from effect where name = $1', [id]);
  if (rowCount === 0) await pool.query('insert into effect (name) values ($1)', [id]);
}

describe(`${WORKERS} workers that get the same messages at the same time`, () => {
  test('have one effect each, whoever comes first, and all are acknowledged', async () => {
    const here = await bank();
    const inboxes = await Promise.all(Array.from({ length: WORKERS }, () => here.inbox({ retriesAtOnce: 2 })));
    for (const inbox of inboxes)
      inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect (name) values ($1)', [id]));
    expect(
      await judgeEffects(
        here,
        ids,
        inboxes.map(({ receive }) => receive),
      ),
    ).toEqual([]);
    const sum = (of: 'handled' | 'duplicates' | 'failed'): number => inboxes.reduce((all, { counters }) => all + counters[of], 0);
    expect([sum('handled'), sum('failed')]).toEqual([ids.length, 0]);
    expect((await here.rows(ROWS)).every((row) => / done /.test(row))).toBe(true);
  });

  test('and the judge finds a consumer out that checks and then acts', async () => {
    const here = await bank();
    const worker = (message: Delivery): Promise<void> => checkThenAct(here.pool, message);
    expect(
      await judgeEffects(
        here,
        ids,
        Array.from({ length: WORKERS }, () => worker),
      ),
    ).not.toEqual([]);
  });
});

/** Debits of 30 from an account with 100; what is wrong with what is left. */
async function judgeAccount(here: Bank, debits: readonly (() => Promise<unknown>)[]): Promise<string[]> {
  await here.pool.query("insert into account values ('a', 100) on conflict (id) do update set balance = 100");
  await Promise.all(debits.map((debit) => debit()));
  const [balance] = (await here.rows("select balance from account where id = 'a'")).map(Number);
  const [spent] = (await here.rows('select coalesce(sum(amount), 0) from effect')).map(Number);
  return [
    ...(balance! + spent! === 100 ? [] : [`100 became ${balance} and ${spent} spent`]),
    ...(spent! <= 100 ? [] : [`${spent} of 100 spent`]),
    ...(spent === 90 ? [] : [`${spent} spent, 90 could be`]),
  ];
}

const spend = (tx: Tx | Pool, id: string): Promise<unknown> => tx.query('insert into effect values ($1, 30)', [id]);

type Spend = (tx: Tx, id: string) => Promise<unknown>;

/** One statement that reads, decides and writes. */
const conditionally: Spend = async (tx, id) => {
  const { rowCount } = await tx.query("update account set balance = balance - 30 where id = 'a' and balance >= 30");
  if (rowCount === 1) await spend(tx, id);
};

/** Reads, decides, writes: two who read the same balance both find it enough. */
const readThenWrite: Spend = async (tx, id) => {
  const { rows } = await tx.query<{ balance: number }>("select balance from account where id = 'a'");
  await new Promise((resolve) => setTimeout(resolve, 5));
  if (rows[0]!.balance < 30) return;
  await tx.query("update account set balance = $1 where id = 'a'", [rows[0]!.balance - 30]);
  await spend(tx, id);
};

const optimistically: Spend = async (tx, id) => {
  const { rows } = await tx.query<{ balance: number; version: number }>("select balance, version from account where id = 'a'");
  await new Promise((resolve) => setTimeout(resolve, 5));
  const [{ balance, version }] = rows as [{ balance: number; version: number }];
  if (balance < 30) return;
  await updateVersion(tx, 'account', { where: { id: 'a' }, version, set: { balance: balance - 30 } });
  await spend(tx, id);
};

const debitsThrough = (inboxes: readonly Inbox<Pool>[]): (() => Promise<unknown>)[] =>
  Array.from({ length: 12 }, (_, i) => () => inboxes[i % inboxes.length]!.receive(delivery(`D${i}`)));

async function inboxesThat(here: Bank, how: Spend, settings: { lock?: () => string } = {}): Promise<Inbox<Pool>[]> {
  const inboxes = await Promise.all(Array.from({ length: 4 }, () => here.inbox({ conflictsMax: 50, lockWaitMs: 30_000 })));
  for (const inbox of inboxes) inbox.handle('debit', ({ id }, { tx }) => how(tx, id), settings);
  return inboxes;
}

describe('an account with 100 from which twelve messages want 30 at the same time', () => {
  test.each<[string, Spend, { lock?: () => string }]>([
    ['a conditional update', conditionally, {}],
    ['the optimistic guard', optimistically, {}],
    ['a lock, even around a handler that reads and then writes', readThenWrite, { lock: () => 'account:a' }],
  ])('is debited three times by %s, and nothing is spent twice', async (_, how, settings) => {
    const here = await bank();
    const inboxes = await inboxesThat(here, how, settings);
    expect(await judgeAccount(here, debitsThrough(inboxes))).toEqual([]);
    expect((await here.rows(ROWS)).every((row) => row.includes(' done '))).toBe(true);
  });

  test('and the judge finds a handler out that reads and then writes', async () => {
    const here = await bank();
    const inboxes = await inboxesThat(here, readThenWrite);
    expect(await judgeAccount(here, debitsThrough(inboxes))).not.toEqual([]);
  });
});
