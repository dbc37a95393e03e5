import { fork } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { migrate, migrationSql, mysql, postgres, sqlite, TABLES } from '../../src/index.ts';
import { migrationTo, newestVersion } from '../../src/sql/migrate.ts';
import type { Column, Table } from '../../src/sql/tables.ts';
import { backends, connect, databasePath, openRaw, rowsOf } from '../support/backends.ts';

const schemaOf = (raw: ReturnType<typeof openRaw>): Record<string, unknown>[] =>
  rowsOf(raw, "select type, name, sql from sqlite_master where name not like 'sqlite_%' order by name");

const NEWEST = newestVersion(TABLES);
const versions = (): { version: number }[] => Array.from({ length: NEWEST }, (_, i) => ({ version: i + 1 }));
const identityOf = (raw: ReturnType<typeof openRaw>): unknown =>
  rowsOf(raw, 'select database_id from tallystick_schema where database_id is not null')[0]?.['database_id'];

describe.each(backends)('migration on $name', (backend) => {
  test('makes all tables from nothing, once, and leaves them alone afterwards', async () => {
    const { raw, handle } = connect(backend, databasePath());
    const databaseId = 'a'.repeat(32);
    expect(await migrate(handle, { nowMs: 42, databaseId })).toEqual({ from: 0, to: NEWEST });
    const made = schemaOf(raw);
    expect(made.filter(({ type }) => type === 'table').map(({ name }) => name)).toEqual(TABLES.map(({ name }) => name).sort());
    expect(await migrate(handle)).toEqual({ from: NEWEST, to: NEWEST });
    expect(schemaOf(raw)).toEqual(made);
    expect(rowsOf(raw, 'select * from tallystick_schema')).toEqual([
      { version: 1, applied_at: 42, database_id: null },
      { version: 2, applied_at: 42, database_id: databaseId },
    ]);
  });

  test('a database of version 1 gets its columns, index and id, and keeps its rows', async () => {
    const { raw, handle } = connect(backend, databasePath());
    for (const statement of versionOne()) raw.exec(statement);
    raw.exec("insert into tallystick_outbox_body values ('A', '', null, x'01')");
    raw.exec(`insert into tallystick_outbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ('A', '', 0, 't', 'deferred', 'waiting', 0, 0, 0, 1, 1, 1)`);
    expect(await migrate(handle)).toEqual({ from: 1, to: NEWEST });
    expect(rowsOf(raw, 'select id, message_type, module, business_key, confirm_within from tallystick_outbox')).toEqual([
      { id: 'A', message_type: '', module: '', business_key: null, confirm_within: 0 },
    ]);
    const id = identityOf(raw);
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(await migrate(handle)).toEqual({ from: NEWEST, to: NEWEST });
    expect(identityOf(raw)).toBe(id);
  });

  test('refuses tables of a newer version, and an open transaction', async () => {
    const { raw, handle } = connect(backend, databasePath());
    await migrate(handle);
    raw.exec('insert into tallystick_schema (version, applied_at) values (99, 0)');
    await expect((async () => migrate(handle))()).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
    raw.exec('begin');
    await expect((async () => migrate(handle))()).rejects.toMatchObject({ code: 'ALREADY_IN_TRANSACTION' });
    raw.exec('rollback');
  });

  test('a later version adds its columns, indexes and tables to rows that exist', async () => {
    const { raw, handle } = connect(backend, databasePath());
    const text = (since?: number, fallback?: string): Column => ({
      kind: 'text',
      nullable: fallback === undefined,
      default: fallback,
      since,
    });
    const old: Table = {
      name: 'thing',
      since: 1,
      columns: { id: { kind: 'id', nullable: false, default: undefined, since: undefined } },
      primaryKey: ['id'],
      indexes: [],
    };
    await migrate(handle, { tables: [old] });
    raw.exec("insert into thing values ('a')");
    const grown: Table = {
      ...old,
      columns: { ...old.columns, colour: text(2, 'red'), note: text(3) },
      indexes: [{ name: 'thing_colour', columns: ['colour'], unique: false, since: 2 }],
    };
    const added: Table = { ...old, name: 'other', since: 3 };
    expect(await migrate(handle, { tables: [grown, added] })).toEqual({ from: 1, to: 3 });
    expect(rowsOf(raw, 'select * from thing')).toEqual([{ id: 'a', colour: 'red', note: null }]);
    expect(rowsOf(raw, 'select count(*) as n from other')).toEqual([{ n: 0 }]);
    const fresh = connect(backend, databasePath());
    await migrate(fresh.handle, { tables: [grown, added] });
    expect(rowsOf(fresh.raw, 'pragma table_info(thing)').map(({ name }) => name)).toEqual(
      rowsOf(raw, 'pragma table_info(thing)').map(({ name }) => name),
    );
  });

  test('a migration that fails half-way leaves the version before', async () => {
    const { raw, handle } = connect(backend, databasePath());
    const column: Column = { kind: 'id', nullable: false, default: undefined, since: undefined };
    const good: Table = { name: 'good', since: 1, columns: { id: column }, primaryKey: ['id'], indexes: [] };
    const bad: Table = { ...good, name: 'bad', indexes: [{ name: 'bad_index', columns: ['missing'], unique: false, since: 1 }] };
    await expect((async () => migrate(handle, { tables: [good, bad] }))()).rejects.toThrow(/missing/);
    expect(schemaOf(raw).map(({ name }) => name)).toEqual(['tallystick_schema']);
    expect(raw.inTransaction).toBe(false);
  });
});

test('processes that start at the same moment make the tables once', async () => {
  const path = databasePath();
  openRaw(path).exec('pragma journal_mode=wal');
  const codes = await Promise.all([1, 2, 3].map(() => exitOf('migrate', path)));
  expect(codes).toEqual([0, 0, 0]);
  expect(rowsOf(openRaw(path), 'select version from tallystick_schema')).toEqual(versions());
});

/** What a program of version 1 has done. */
function versionOne(): string[] {
  return [
    'create table tallystick_schema (version integer not null, applied_at integer not null, primary key (version))',
    ...migrationTo(sqlite, TABLES, 1),
    'insert into tallystick_schema values (1, 0)',
  ];
}

function exitOf(...args: string[]): Promise<number | null> {
  const child = fork(new URL('../support/child.ts', import.meta.url), args, {
    execArgv: ['--import', new URL('../../../cli/bin/sources.js', import.meta.url).href],
    stdio: 'inherit',
  });
  return new Promise((resolve) => child.once('exit', resolve));
}

test('the printed SQL makes the same tables as the migration', async () => {
  const [byHand, byCode] = [openRaw(databasePath()), openRaw(databasePath())];
  byHand.exec(migrationSql(sqlite));
  migrate(byCode);
  expect(schemaOf(byHand)).toEqual(schemaOf(byCode));
  expect(migrate(byHand)).toEqual({ from: NEWEST, to: NEWEST });
  const ids = [byHand, byCode].map((raw) => identityOf(raw));
  expect(ids).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{32}$/)]);
  expect(ids[0]).not.toBe(ids[1]);
});

test('every dialect prints every table, with its own types for the same columns', () => {
  for (const dialect of [sqlite, postgres, mysql]) {
    const text = migrationSql(dialect);
    for (const { name } of TABLES) expect(text).toMatch(new RegExp(`create table if not exists [\`"]${name}[\`"]`));
    expect(migrationTo(dialect, TABLES, newestVersion(TABLES) + 1)).toEqual([]);
  }
  expect(migrationSql(postgres)).toContain(
    '"sequence" bigint generated by default as identity (maxvalue 9007199254740991) not null',
  );
  expect(migrationSql(postgres)).toContain('"body" bytea not null');
  expect(migrationSql(mysql)).toContain('`sequence` bigint auto_increment not null');
  expect(migrationSql(mysql)).toContain('utf8mb4_bin');
});
