import { SqliteAdapter, SqliteQueryCompiler } from 'kysely';
import { codeOf, compilerOnly, numberOf, type Dialect } from './dialect.ts';

const text = 'text';
const integer = 'integer';

/** SQLite 3.35 and newer, through libsql, better-sqlite3 or node:sqlite. */
export const sqlite: Dialect = {
  name: 'sqlite',
  build: compilerOnly(
    () => new SqliteAdapter(),
    () => new SqliteQueryCompiler(),
  ),
  // `integer primary key` is the row id: one more than the largest, so later rows are larger, and that is all the order needs.
  columnTypes: {
    identity: integer,
    id: text,
    name: text,
    word: text,
    sentence: text,
    text,
    small: integer,
    count: integer,
    big: integer,
    bytes: 'blob',
  },
  tableSuffix: '',
  // A deferred transaction that reads and then writes fails at once when another has written in between.
  begin: 'begin immediate',
  failureEndsTransaction: false,
  takeWriteLock: 'delete from tallystick_schema where 0',
  waitBriefly: undefined,
  lockWait: undefined,
  transactionalSchema: true,
  changesInUse: false,
  hasSchemaTable: "select 1 as there from sqlite_master where type = 'table' and name = 'tallystick_schema'",
  tableName: (name) => `"${name}"`,
  partialIndexes: true,
  now: undefined,
  randomHex: 'lower(hex(randomblob(16)))',
  cutOff: undefined,
  ignoreTaken: (insert) => insert.onConflict((conflict) => conflict.doNothing()),
  isLocked: (error) => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error)) || [5, 6].includes(numberOf(error, 'errcode') & 0xff),
  isTaken: (error) =>
    /^SQLITE_CONSTRAINT_(PRIMARYKEY|UNIQUE|ROWID)/.test(codeOf(error)) || [1555, 2067, 2579].includes(numberOf(error, 'errcode')),
};
