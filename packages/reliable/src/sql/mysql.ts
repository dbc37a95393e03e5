import { MysqlAdapter, MysqlQueryCompiler, sql } from 'kysely';
import { codeOf, compilerOnly, type Dialect } from './dialect.ts';

/** MySQL 8 and MariaDB 10.6 and newer. The statements compile; handles of its drivers are not recognised yet. */
export const mysql: Dialect = {
  name: 'mysql',
  build: compilerOnly(
    () => new MysqlAdapter(),
    () => new MysqlQueryCompiler(),
  ),
  columnTypes: {
    identity: 'bigint auto_increment',
    id: 'varchar(128)',
    name: 'varchar(255)',
    word: 'varchar(64)',
    sentence: 'varchar(500)',
    text: 'mediumtext',
    small: 'smallint',
    count: 'int',
    big: 'bigint',
    bytes: 'longblob',
  },
  // Binary collation: keys that differ in case or trailing accents are different keys.
  tableSuffix: 'engine=InnoDB default character set utf8mb4 collate utf8mb4_bin',
  begin: 'start transaction',
  failureEndsTransaction: false,
  takeWriteLock: undefined,
  waitBriefly: undefined,
  lockWait: undefined,
  transactionalSchema: false,
  changesInUse: false,
  hasSchemaTable:
    "select 1 as there from information_schema.tables where table_schema = database() and table_name = 'tallystick_schema'",
  tableName: (name) => `\`${name}\``,
  partialIndexes: false,
  now: sql<number>`cast(floor(unix_timestamp(now(3)) * 1000) as signed)`,
  randomHex: "replace(uuid(), '-', '')",
  cutOff: undefined,
  ignoreTaken: (insert) => insert.ignore(),
  isLocked: (error) => ['ER_LOCK_WAIT_TIMEOUT', 'ER_LOCK_DEADLOCK', 'ER_LOCK_NOWAIT'].includes(codeOf(error)),
  isTaken: (error) => codeOf(error) === 'ER_DUP_ENTRY',
};
