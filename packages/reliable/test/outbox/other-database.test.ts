import { copyFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { expect, onTestFinished, test } from 'vitest';
import { createCalls, createOutbox, migrate, transaction, type AsyncHandle, type Handle } from '../../src/index.ts';
import { folder, onlySqlite } from '../support/backends.ts';

const message = { topic: 'orders', body: Buffer.from('{}') };
const REFUSED = expect.objectContaining({ code: 'WRONG_DATABASE' }) as Error;

function opened(path: string): InstanceType<typeof Database> {
  const db = new Database(path);
  onTestFinished(() => void db.close());
  migrate(db);
  return db;
}

function rowsIn(db: InstanceType<typeof Database>): number {
  return (db.prepare('select count(*) as n from tallystick_outbox').all()[0] as { n: number }).n;
}

/** An asynchronous handle over a connection. */
function asynchronous(db: InstanceType<typeof Database>): AsyncHandle {
  return {
    tallystick: 'asynchronous',
    dialect: 'sqlite',
    execute: async (sql, parameters) => {
      const statement = db.prepare(sql);
      if (statement.reader) return { rows: statement.all(parameters as never) as Record<string, unknown>[], changes: 0 };
      return { rows: [], changes: statement.run(parameters as never).changes };
    },
    inTransaction: () => db.inTransaction,
  };
}

test.runIf(onlySqlite.length > 0)('a SQLite handle of another file is refused, and nothing is written there', () => {
  const path = folder();
  const [own, other] = [opened(join(path, 'own.db')), opened(join(path, 'other.db'))];
  const outbox = createOutbox(own);
  expect(() => transaction(other, (tx) => outbox.in(tx).add(message))).toThrow(REFUSED);
  expect([rowsIn(own), rowsIn(other)]).toEqual([0, 0]);
});

test.runIf(onlySqlite.length > 0)('a copy of the file, which has its id, too, is another database', () => {
  const path = folder();
  const own = opened(join(path, 'own.db'));
  own.exec('pragma wal_checkpoint(truncate)');
  copyFileSync(join(path, 'own.db'), join(path, 'copy.db'));
  const copy = opened(join(path, 'copy.db'));
  expect(() => createOutbox(own).in(copy)).toThrow(REFUSED);
});

test.runIf(onlySqlite.length > 0)('another connection to the same file is taken, by whatever path it came', () => {
  const path = folder();
  const own = opened(join(path, 'own.db'));
  symlinkSync(path, join(path, 'link'));
  const outbox = createOutbox(own);
  for (const other of [join(path, 'own.db'), join(path, 'link', 'own.db')].map(opened))
    transaction(other, (tx) => outbox.in(tx).add(message));
  expect(rowsIn(own)).toBe(2);
});

test.runIf(onlySqlite.length > 0)('a database in memory is its connection', () => {
  const [own, other] = [opened(':memory:'), opened(':memory:')];
  const outbox = createOutbox(own, { durability: 'trust' });
  transaction(own, (tx) => outbox.in(tx).add(message));
  expect(() => outbox.in(other)).toThrow(REFUSED);
  expect(() => outbox.in(other)).toThrow(/in memory.*use the very handle that was handed over, or a file/);
  expect(rowsIn(own)).toBe(1);
});

test.runIf(onlySqlite.length > 0)('calls are recorded in their own database only, as messages are', () => {
  const path = folder();
  const [own, other] = [opened(join(path, 'own.db')), opened(join(path, 'other.db'))];
  const calls = createCalls(own);
  const call = { url: 'https://bank.example/' };
  expect(() => transaction(other, (tx) => calls.add(tx, call))).toThrow(REFUSED);
  transaction(opened(join(path, 'own.db')), (tx) => calls.add(tx, call));
  const callsIn = (db: InstanceType<typeof Database>): unknown => db.prepare('select count(*) as n from tallystick_call').all();
  expect([callsIn(own), callsIn(other)]).toEqual([[{ n: 1 }], [{ n: 0 }]]);
});

test.runIf(onlySqlite.length > 0)('an asynchronous SQLite handle of another database is refused', async () => {
  const path = folder();
  const [own, other] = [opened(join(path, 'own.db')), opened(join(path, 'other.db'))];
  const outbox = createOutbox(asynchronous(own));
  const adding = transaction(asynchronous(other), (tx) => outbox.in(tx).add(message));
  await expect(adding).rejects.toThrow(REFUSED);
  await transaction(asynchronous(opened(join(path, 'own.db'))), (tx) => outbox.in(tx).add(message));
  expect([rowsIn(own), rowsIn(other)]).toEqual([1, 0]);
});

test.runIf(onlySqlite.length > 0)('a handle of another kind of database is refused', () => {
  const own = opened(join(folder(), 'own.db'));
  const postgres: AsyncHandle = { ...asynchronous(own), dialect: 'postgres' };
  expect(() => createOutbox(postgres as Handle).in(own)).toThrow(REFUSED);
  expect(() => createOutbox(own).in(postgres)).toThrow(REFUSED);
});
