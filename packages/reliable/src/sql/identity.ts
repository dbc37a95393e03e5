/** Which database this is: an id that a migration made once, so that two databases of equal tables are told apart. */
import { connectionsOf } from './connections.ts';
import type { Dialect } from './dialect.ts';
import { perDialect } from './dialect.ts';
import type { Database } from './handles.ts';
import { perform } from './session.ts';
import { prepared, run, type Steps } from './statement.ts';
import { asTextOrNull } from './values.ts';

/** The id of the database behind `db`, asked once; undefined where its tables are older than ids. A failed question is asked again. */
export function identityOf(db: Database): Promise<string | undefined> {
  let identity = identities.get(db);
  if (identity === undefined) {
    identity = connectionsOf(db).use((session) => perform(session, readIdentity(session.dialect)));
    identities.set(db, identity);
    identity.catch(() => identities.delete(db));
  }
  return identity;
}

const identities = new WeakMap<object, Promise<string | undefined>>();

/** Reads it on a session, whatever is open there. */
export function* readIdentity(dialect: Dialect): Steps<string | undefined> {
  const { rows } = yield* run(statementsOf(dialect).identity({}));
  return asTextOrNull(rows[0]?.['database_id']) ?? undefined;
}

const statementsOf = perDialect(({ build }) => ({
  identity: prepared(
    build.selectFrom('tallystick_schema').select('database_id').where('database_id', 'is not', null).orderBy('version').limit(1),
  ),
}));
