/**
 * The optimistic variant of the business lock, for rows that are seldom fought over: a `version` column that every change counts up.
 * Nobody waits; who finds that the version is not the one he read has read too early, and the whole handler is run again on what is
 * there now (`conflictsMax` times).
 */
import type { Kysely } from 'kysely';
import { fail } from '../errors.ts';
import type { Answer, Handle } from '../sql/handles.ts';
import { performInside, sessionOf } from '../sql/session.ts';
import { prepared, run, type SqlValue, type Steps } from '../sql/statement.ts';

export interface VersionedUpdate {
  /** The row, by its key: `{ id: 7 }`. */
  readonly where: Readonly<Record<string, SqlValue>>;
  /** The version that was read. */
  readonly version: number;
  readonly set: Readonly<Record<string, SqlValue>>;
  /** Default `version`. */
  readonly column?: string | undefined;
}

/**
 * Changes the row of `table` if it is still at the version that was read, and counts it up; answers the new version. Throws
 * VERSION_CONFLICT, which inside a handler means: again. Throws NOT_IN_TRANSACTION.
 */
export function updateVersion<T extends Handle>(tx: T, table: string, update: VersionedUpdate): Answer<T, number> {
  const session = sessionOf(tx);
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- a table of the user's own
  const build = session.dialect.build as unknown as Kysely<any>;
  const { where, version, set, column = 'version' } = update;
  let query = build.updateTable(table).set({ ...set, [column]: version + 1 });
  for (const [name, value] of Object.entries({ ...where, [column]: version })) query = query.where(name, '=', value);
  const statement = prepared<never>(query)({});
  return performInside(session, function* (): Steps<number> {
    const { changes } = yield* run(statement);
    if (changes === 0) throw fail('VERSION_CONFLICT', `${table} ${JSON.stringify(where)} is not at version ${version}`);
    return version + 1;
  }) as Answer<T, number>;
}
