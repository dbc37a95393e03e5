/** Knex: `trx` is a handle, `knex` a root. The transaction's own client gives its connection, which is pg's, to whoever asks. */
import { fail } from '../../errors.ts';
import type { AsyncHandle } from '../handles.ts';
import { settled } from './borrowed.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';
import { NativeTransaction } from './native.ts';
import { isPgClient, PgHandle } from './pg.ts';
import type { PgNative } from './pg-client.ts';

interface KnexClient {
  acquireConnection(): Promise<unknown>;
  releaseConnection(connection: unknown): Promise<void>;
}

interface KnexShape {
  readonly client: KnexClient;
  transaction<T>(work: (trx: object) => Promise<T>): Promise<T>;
}

export const knex: Library = {
  name: 'Knex',
  handle: (given) => (isTransactor(given) ? knexHandle(given) : undefined),
  root: (given) => (isKnex(given) && !isTransactor(given) ? knexRoot(given) : undefined),
};

function isKnex(given: unknown): given is KnexShape {
  return (
    typeof given === 'function' &&
    hasMethods(given, 'raw', 'transaction') &&
    hasMethods(member(given, 'client'), 'acquireConnection') &&
    member(member(given, 'client'), 'dialect') === 'postgresql'
  );
}

type Transactor = KnexShape & { isCompleted(): boolean };

export function isTransactor(given: unknown): given is Transactor {
  return isKnex(given) && hasMethods(given, 'isCompleted') && member(given, 'isTransaction') === true;
}

export function knexHandle(trx: Transactor): AsyncHandle {
  return new NativeTransaction({ isOpen: () => !trx.isCompleted(), find: () => trx.client.acquireConnection() });
}

export function knexRoot(db: KnexShape): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: (work) => db.transaction(work),
    async borrow() {
      const client = await db.client.acquireConnection();
      if (!isPgClient(client)) {
        await db.client.releaseConnection(client);
        throw fail('UNKNOWN_HANDLE', 'Knex is not over pg');
      }
      return { handle: new PgHandle(client), giveBack: (broken) => giveBack(db, client, broken) };
    },
  };
}

async function giveBack(db: KnexShape, client: PgNative, broken: boolean): Promise<void> {
  const handle = new PgHandle(client);
  if (broken || (await handle.inTransaction())) await settled(handle.execute('rollback', []));
  // A connection that carries a reason is thrown away by Knex instead of being lent again.
  if (broken) Object.assign(client, { __knex__disposed: new Error('given back broken') });
  await db.client.releaseConnection(client);
}
