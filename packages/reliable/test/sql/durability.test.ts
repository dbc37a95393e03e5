import { expect, test } from 'vitest';
import { verifyDurability } from '../../src/index.ts';
import { faultOf, warningsFor } from '../../src/sql/durability.ts';
import { backends, connect, databasePath, openRaw, rowsOf } from '../support/backends.ts';
import type { SyncHandle } from '../../src/index.ts';

const sync = backends.filter(({ kind }) => kind === 'sync');

test.each(sync)('write-ahead logging and full syncs are set and read back on $name', (backend) => {
  const { raw, handle } = connect(backend, databasePath());
  raw.exec('pragma synchronous=off');
  expect(verifyDurability(handle as SyncHandle)).toMatchObject({ journalMode: 'wal', synchronous: 2 });
  expect(rowsOf(raw, 'pragma synchronous')).toEqual([{ synchronous: 2 }]);
});

test('a setting above full is left as it is', () => {
  const raw = openRaw(databasePath());
  raw.exec('pragma synchronous=extra');
  expect(verifyDurability(raw).synchronous).toBe(3);
});

test('looking only, it refuses what would lose commits, and says what it found', () => {
  const raw = openRaw(databasePath());
  raw.exec('pragma journal_mode=wal; pragma synchronous=normal');
  expect(() => verifyDurability(raw, { set: false })).toThrow(/synchronous is 1, wanted 2/);
});

test('inside a transaction nothing can be set, so the fault is found and not papered over', () => {
  const raw = openRaw(databasePath());
  raw.exec('pragma journal_mode=wal; pragma synchronous=off; begin');
  expect(() => verifyDurability(raw)).toThrow(/synchronous is 0/);
});

test('a database in memory is refused', () => {
  expect(() => verifyDurability(openRaw(':memory:'))).toThrow(/journal_mode is memory/);
});

test('a connection can be told to leave checkpoints to another, and is believed only when it says so itself', () => {
  const raw = openRaw(databasePath());
  verifyDurability(raw, { checkpoints: 'elsewhere' });
  expect(rowsOf(raw, 'pragma wal_autocheckpoint')).toEqual([{ wal_autocheckpoint: 0 }]);
  const deaf = {
    exec: (sql: string) => raw.exec(sql),
    get inTransaction() {
      return raw.inTransaction;
    },
    prepare: (sql: string) => raw.prepare(sql.includes('=0') ? 'pragma wal_autocheckpoint' : sql),
  };
  raw.exec('pragma wal_autocheckpoint=1000');
  expect(() => verifyDurability(deaf, { checkpoints: 'elsewhere' })).toThrow(/stays at 1000/);
});

test('what counts as durable', () => {
  const table = ['wal 2', 'wal 3', 'delete 2', 'truncate 2', 'persist 3', 'wal 1', 'wal 0', 'off 2', 'memory 3'].map((text) => {
    const [journalMode, synchronous] = text.split(' ') as [string, string];
    return `${text} ${faultOf({ journalMode, synchronous: Number(synchronous) }) === undefined}`;
  });
  expect(table).toEqual([
    'wal 2 true',
    'wal 3 true',
    'delete 2 true',
    'truncate 2 true',
    'persist 3 true',
    'wal 1 false',
    'wal 0 false',
    'off 2 false',
    'memory 3 false',
  ]);
});

test('a SQLite with the checkpoint flaw is warned about', () => {
  expect(['3.45.1', '3.51.2', '3.51.3', '3.52.0', '4.0.0'].map((version) => warningsFor(version).length)).toEqual([
    1, 1, 0, 0, 0,
  ]);
});
