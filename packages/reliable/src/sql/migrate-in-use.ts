/**
 * Upgrades PostgreSQL's tables while programs of the old and the new version read and write them.
 *
 * - A new table is made with its indexes in one transaction.
 * - New columns of a table are added in one short transaction. It needs the table for itself for a moment, and everybody who comes
 *   after it in the queue waits for it; so it waits for its own turn only briefly, steps back, and tries again. Their defaults are
 *   constants: no row is rewritten, and the inserts of the old version go on working.
 * - An index of a table that is there is built beside the writers (`concurrently`), outside of any transaction. One that was left
 *   half-made by a process that died is invalid: it is dropped and made again.
 * - Only then the version is written down. Every step before it can be repeated, so a migration that was killed anywhere goes on where
 *   it was when it is started again.
 *
 * Transactions of two processes exclude each other by an advisory lock that ends with them; it is never waited for while an index is
 * built. Nothing depends on the session between two transactions, so all this works behind a connection pool too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '@tallystick/base';
import { systemRandom } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { assertNotNewer, type Migration, type MigrationReport } from './migration.ts';
import {
  createIndex,
  createIndexInUse,
  createTable,
  isNew,
  migrationFromNothing,
  newColumns,
  newIndexes,
  recordVersion,
} from './migration-text.ts';
import { atomically } from './session.ts';
import { plain, run, type Steps } from './statement.ts';
import type { Table } from './tables.ts';

/** One transaction, or one index. */
type Part =
  | {
      readonly kind: 'transaction';
      readonly statements: readonly string[];
      readonly table: string | undefined;
      readonly version: number;
    }
  | { readonly kind: 'index'; readonly statement: string; readonly name: string; readonly table: string };

/** `found` reads the version that is there. */
export function* migrateInUse(migration: Migration, found: () => Steps<number>): Steps<MigrationReport> {
  const { newest } = migration;
  const from = yield* found();
  for (let at = from; at < newest; at = yield* found()) {
    for (const part of partsFrom(migration, at)) {
      if (part.kind === 'index') yield* buildIndex(migration, part);
      // Another process may have been faster: its version is not written down twice.
      else
        yield* patiently(migration, part, function* () {
          if ((yield* found()) < part.version) for (const statement of part.statements) yield plain(statement);
        });
    }
  }
  assertNotNewer(migration, yield* found());
  return { from, to: newest };
}

/** The statements of {@link migrateInUse}, to be read or run by hand. */
export function planInUse(migration: Migration, from: number): string[] {
  return partsFrom(migration, from).flatMap((part) =>
    part.kind === 'index' ? [part.statement] : ['begin', lockTimeout(migration), LOCK_OTHERS_OUT, ...part.statements, 'commit'],
  );
}

function partsFrom(migration: Migration, from: number): Part[] {
  const { dialect, tables, newest, nowMs, databaseId, schema } = migration;
  const row = { nowMs, databaseId };
  if (from === 0) {
    const made = schema === undefined ? [] : [`create schema if not exists "${schema}"`];
    const statements = [...made, ...migrationFromNothing(dialect, tables, row)];
    return [{ kind: 'transaction', statements, table: undefined, version: 1 }];
  }
  return Array.from({ length: newest - from }, (_, i) => from + 1 + i).flatMap((version) => [
    ...tables.flatMap((table) => partsOf(migration, table, version)),
    {
      kind: 'transaction' as const,
      statements: [recordVersion(dialect, tables, version, row)],
      table: undefined,
      version,
    },
  ]);
}

function partsOf({ dialect }: Migration, table: Table, version: number): Part[] {
  const indexes = newIndexes(table, version);
  if (isNew(table, version)) {
    const statements = [
      createTable(dialect, table, version),
      ...indexes.map((index) =>
        createIndex(dialect, table, index).replace(/^create (unique )?index /, 'create $1index if not exists '),
      ),
    ];
    return [{ kind: 'transaction', statements, table: undefined, version }];
  }
  const columns = newColumns(dialect, table, version);
  return [
    ...(columns.length === 0
      ? []
      : [{ kind: 'transaction' as const, statements: columns, table: dialect.tableName(table.name), version }]),
    ...indexes.map((index) =>
      indexPart(dialect.tableName(index.name), dialect.tableName(table.name), createIndexInUse(dialect, table, index)),
    ),
  ];
}

function indexPart(name: string, table: string, statement: string): Part {
  return { kind: 'index', name, table, statement };
}

/** In a transaction, as often as it needs to get its locks. Throws LOCK_BUSY with those who have them. */
function* patiently(migration: Migration, part: Part, work: () => Steps<void>): Steps<void> {
  const { dialect, patienceMs } = migration;
  const began = Date.now();
  for (let failed = 1; ; failed++) {
    try {
      return yield* atomically(dialect, withLocks(migration, work));
    } catch (error) {
      if (!dialect.isLocked(error)) throw error;
      if (Date.now() - began >= patienceMs) throw fail('LOCK_BUSY', yield* holders(part.table), error);
      yield pause(backoffMs(STEP_BACK, failed, random.u32()));
    }
  }
}

const STEP_BACK = { firstMs: 50, maxMs: 5_000 };
const random = systemRandom();

function* withLocks(migration: Migration, work: () => Steps<void>): Steps<void> {
  yield plain(lockTimeout(migration));
  yield* run(plain(LOCK_OTHERS_OUT, true));
  yield* work();
}

function lockTimeout({ lockWaitMs }: Migration): string {
  return `set local lock_timeout = ${Math.max(1, Math.trunc(lockWaitMs))}`;
}

/** Any number that other programs on the same database are not likely to lock. */
const LOCK_OTHERS_OUT = 'select pg_advisory_xact_lock(7214563380911)::text as locked';

function* buildIndex(migration: Migration, { name, table, statement }: Extract<Part, { kind: 'index' }>): Steps<void> {
  for (;;) {
    const state = yield* indexState(name);
    if (state === 'valid') return;
    if (state === 'invalid' && (yield* isBeingBuilt(table))) {
      // By another process, or a vacuum has the table: either ends.
      yield pause(200);
      continue;
    }
    try {
      yield plain(state === 'absent' ? statement : `drop index concurrently if exists ${name}`);
    } catch (error) {
      // Two that build the same name at once, or that wait for each other: one of them is told, and looks again.
      if (!migration.dialect.isLocked(error) && !migration.dialect.isTaken(error)) throw error;
      yield pause(100);
    }
  }
}

function* indexState(name: string): Steps<'valid' | 'invalid' | 'absent'> {
  const { rows } = yield* run(plain(`select indisvalid as valid from pg_index where indexrelid = to_regclass('${name}')`, true));
  if (rows[0] === undefined) return 'absent';
  return rows[0]['valid'] === true ? 'valid' : 'invalid';
}

/** Whoever builds an index concurrently holds this lock on its table from the beginning to the end. */
function* isBeingBuilt(table: string): Steps<boolean> {
  const { rows } = yield* run(
    plain(
      `select 1 as held from pg_locks where relation = to_regclass('${table}') and mode = 'ShareUpdateExclusiveLock' and granted and pid <> pg_backend_pid() and database = (select oid from pg_database where datname = current_database()) limit 1`,
      true,
    ),
  );
  return rows.length > 0;
}

/** Who keeps the table, for a person to look at. */
function* holders(table: string | undefined): Steps<string> {
  if (table === undefined) return 'another migration, which does not end';
  const { rows } = yield* run(
    plain(
      `select distinct a.pid, a.state, a.application_name as program, a.xact_start::text as since from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.relation = to_regclass('${table}') and l.granted and a.pid <> pg_backend_pid() order by since limit 5`,
      true,
    ),
  );
  const named = rows.map(
    ({ pid, state, program, since }) => `${String(pid)} ${String(program)} (${String(state)} since ${String(since)})`,
  );
  return `${table} is held by ${named.length === 0 ? 'somebody who has just left' : named.join(', ')}`;
}

function pause(ms: number): { call(): Promise<void> } {
  return { call: () => sleep(ms) };
}
