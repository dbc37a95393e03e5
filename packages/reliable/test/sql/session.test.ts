import { describe, expect, test } from 'vitest';
import { mysql, postgres, sqlite, type Dialect } from '../../src/index.ts';
import { relayStatements } from '../../src/relay/relay-statements.ts';
import { perform, performNow, sessionOf, undivided, type SyncSession } from '../../src/sql/session.ts';
import { hole, pieces, plain, prepared, preparedList, run, type Statement, type Steps } from '../../src/sql/statement.ts';
import { backends, connect, databasePath, onlySqlite, openRaw, rowsOf } from '../support/backends.ts';

const dialects: readonly Dialect[] = [sqlite, postgres, mysql];

describe('statements', () => {
  test('are compiled once and filled by name, in the order of the text', () => {
    const query = sqlite.build
      .updateTable('tallystick_schema')
      .set({ applied_at: hole('at') })
      .where('version', '=', hole<number>('version'));
    expect(prepared<'at' | 'version'>(query)({ version: 7, at: 42 })).toEqual({
      sql: 'update "tallystick_schema" set "applied_at" = ? where "version" = ?',
      parameters: [42, 7],
      reads: false,
      often: undefined,
    });
  });

  test('refuse a hole that is not filled', () => {
    const statement = prepared(sqlite.build.deleteFrom('tallystick_schema').where('version', '=', hole<number>('version')));
    expect(() => statement({} as never)).toThrow(/no value for version/);
  });

  test('over a list have few texts: the list is padded with its last member', () => {
    const statement = preparedList((ids) => sqlite.build.deleteFrom('tallystick_outbox').where('id', 'in', ids));
    expect(statement({}, ['a', 'b', 'c']).parameters).toEqual(['a', 'b', 'c', 'c']);
    const texts = new Set(Array.from({ length: 256 }, (_, n) => statement({}, Array.from({ length: n + 1 }, String)).sql));
    expect(texts.size).toBe(9);
    expect(() => statement({}, [])).toThrow(/a list of 0/);
    expect(pieces(Array.from({ length: 600 }, (_, n) => n)).map((piece) => piece.length)).toEqual([256, 256, 88]);
  });

  test.each(dialects)('of the relay compile for $name, each with its fence', (dialect) => {
    const statements = relayStatements(dialect, 'tallystick_outbox', 'hold');
    const fence = { channel: '', scope: 's', range: 0, owner: 'o', epoch: 1 };
    const settling: Statement[] = [
      statements.deleteHeads(fence, ['a']),
      statements.deleteBodies(fence, ['a']),
      statements.changed({
        ...fence,
        id: 'a',
        before: 1,
        from: null,
        counted: null,
        state: 'dead',
        attempts: 1,
        tries: 1,
        wait: 0,
        outcome: 'rejected',
        reason: 'r',
        now: 0,
      }),
    ];
    for (const { sql, parameters } of settling) {
      expect(sql).toMatch(/exists \(select l\.epoch from .tallystick_lease./);
      expect(sql).toMatch(/l\.owner = .+ and l\.epoch = /);
      expect(parameters).toEqual(expect.arrayContaining(['o', 1]));
    }
    const claim = statements.page({
      channel: '',
      state: 'waiting',
      scope: 's',
      owner: 'o',
      held: 16,
      epochs: 16,
      now: 5,
      afterDue: 0,
      afterSequence: 0,
      limit: 10,
    });
    expect(claim.reads).toBe(true);
    // A server's clock decides there; SQLite's is the process's.
    expect(claim.sql.includes('clock_timestamp') || claim.sql.includes('unix_timestamp')).toBe(dialect.name !== 'sqlite');
  });

  test('a dialect knows its own errors: a lock, a taken key', () => {
    const errors = [
      [sqlite, { code: 'SQLITE_BUSY_SNAPSHOT' }, { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' }],
      [sqlite, { code: 'ERR_SQLITE_ERROR', errcode: 517 }, { code: 'ERR_SQLITE_ERROR', errcode: 2067 }],
      [postgres, { code: '55P03' }, { code: '23505' }],
      [mysql, { code: 'ER_LOCK_WAIT_TIMEOUT' }, { code: 'ER_DUP_ENTRY' }],
    ] as const;
    for (const [dialect, locked, taken] of errors) {
      expect([dialect.isLocked(locked), dialect.isTaken(locked), dialect.isLocked(taken), dialect.isTaken(taken)]).toEqual([
        true,
        false,
        false,
        true,
      ]);
      for (const other of [undefined, null, new Error('x'), { code: 5 }])
        expect([dialect.isLocked(other), dialect.isTaken(other)]).toEqual([false, false]);
    }
  });
});

describe('sessions', () => {
  test('one handle has one session', () => {
    const { handle } = connect(backends[0]!, databasePath());
    expect(sessionOf(handle)).toBe(sessionOf(handle));
  });

  test.each([[{}], [null], [{ query: () => undefined }], [{ prepare: () => undefined }], [{ tallystick: 'asynchronous' }]])(
    '%j is not a handle',
    (thing) => {
      expect(() => sessionOf(thing as never)).toThrow(expect.objectContaining({ code: 'UNKNOWN_HANDLE' }) as Error);
    },
  );

  test.each(backends)('bytes, nulls and a lone parameter come through $name', async (backend) => {
    const { raw, handle } = connect(backend, databasePath());
    raw.exec('create table t (b blob)');
    const sqlite = backend.can.dialect === 'sqlite';
    const placed = sqlite ? '?' : '$1';
    const type = sqlite ? 'typeof(b)' : 'pg_typeof(b)';
    const session = sessionOf(handle);
    const steps = function* (): Steps<unknown[]> {
      for (const value of [new Uint8Array([1, 2, 3]).subarray(1), null, 'text'])
        yield { sql: `insert into t values (${placed})`, parameters: [value], reads: false };
      const sql = `select ${type} as type, coalesce(hex(b), '') as hex from t`;
      return (yield* run({ sql, parameters: [], reads: true })).rows.map((row) => `${String(row['type'])} ${String(row['hex'])}`);
    };
    // A column of PostgreSQL has one type for all its values.
    const types = sqlite ? ['blob', 'null', 'text'] : ['blob', 'blob', 'blob'];
    expect(await perform(session, steps())).toEqual(['0203', '', '74657874'].map((hex, i) => `${types[i]} ${hex}`));
  });

  test.each(backends)('steps that catch an error go on after it on $name', async (backend) => {
    const { handle } = connect(backend, databasePath());
    const steps = function* (): Steps<string> {
      try {
        yield plain('select from nowhere', true);
      } catch {
        const { rows } = yield* run(plain('select 1 as one', true));
        return `went on with ${String(rows[0]?.['one'])}`;
      }
      return 'no error';
    };
    expect(await perform(sessionOf(handle), steps())).toBe('went on with 1');
  });

  test.each(backends.filter(({ kind }) => kind === 'sync'))(
    'whether a transaction is open is known, and asking leaves none behind, on $name',
    (backend) => {
      const { raw, handle } = connect(backend, databasePath());
      const session = sessionOf(handle) as SyncSession;
      const seen = [session.inTransaction()];
      raw.exec('begin');
      seen.push(session.inTransaction(), raw.inTransaction);
      raw.exec('commit');
      seen.push(session.inTransaction(), raw.inTransaction);
      expect(seen).toEqual([false, true, true, false, false]);
    },
  );

  test.each(onlySqlite)('undivided work inside a transaction nests, and undoes only its own', () => {
    const raw = openRaw(databasePath());
    raw.exec('create table tallystick_schema (version); create table t (n)');
    const session = sessionOf(raw) as SyncSession;
    const insert = (n: number) => ({ sql: 'insert into t values (?)', parameters: [n], reads: false });
    const failing = function* (): Steps<void> {
      yield insert(3);
      throw new Error('inner');
    };
    const outer = function* (): Steps<void> {
      yield insert(2);
      try {
        yield* undivided(sqlite, failing());
      } catch {
        yield insert(4);
      }
    };
    raw.exec('begin; insert into t values (1)');
    performNow(session, undivided(sqlite, outer()));
    raw.exec('commit');
    expect(rowsOf(raw, 'select n from t').map(({ n }) => n)).toEqual([1, 2, 4]);
  });
});
