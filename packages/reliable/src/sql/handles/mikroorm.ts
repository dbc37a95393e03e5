/**
 * MikroORM: an EntityManager is a handle while it is in a transaction and a root besides, MikroORM itself is a root. Its transaction is
 * Knex's. One manager may see many transactions, so each use asks for the present one.
 */
import { fail } from '../../errors.ts';
import type { AsyncHandle } from '../handles.ts';
import { isTransactor, knexHandle, knexRoot } from './knex.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';

interface Manager {
  isInTransaction(): boolean;
  getTransactionContext(): unknown;
  getConnection(type?: string): { getKnex(): unknown };
  fork(): Manager;
  transactional<T>(work: (em: object) => Promise<T>): Promise<T>;
}

export const mikroorm: Library = {
  name: 'MikroORM',
  handle: (given) => (isManager(given) ? new MikroormHandle(given) : undefined),
  root(given) {
    if (isManager(given)) return rootOf(() => given);
    const em = member(given, 'em');
    // The one manager of MikroORM itself must not be used across requests: each transaction gets a fork.
    return isManager(em) && hasMethods(given, 'isConnected') ? rootOf(() => em.fork()) : undefined;
  },
};

function isManager(given: unknown): given is Manager {
  return hasMethods(given, 'isInTransaction', 'getTransactionContext', 'getConnection', 'fork', 'transactional');
}

class MikroormHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #em: Manager;

  constructor(em: Manager) {
    this.#em = em;
  }

  async execute(...given: Parameters<AsyncHandle['execute']>): ReturnType<AsyncHandle['execute']> {
    const handle = this.#present();
    if (handle === undefined) throw fail('NOT_IN_TRANSACTION', 'MikroORM has no transaction of PostgreSQL here');
    return handle.execute(...given);
  }

  inside(): AsyncHandle['execute'] {
    return this.#present()?.inside?.() ?? ((...given) => this.execute(...given));
  }

  inTransaction(): boolean | Promise<boolean> {
    return this.#present()?.inTransaction() ?? false;
  }

  async ready(): Promise<void> {
    await this.#present()?.ready?.();
  }

  onEnd(...given: Parameters<NonNullable<AsyncHandle['onEnd']>>): boolean {
    return this.#present()?.onEnd?.(...given) ?? false;
  }

  onUndone(told: () => void): void {
    this.#present()?.onUndone?.(told);
  }

  #present(): AsyncHandle | undefined {
    if (!this.#em.isInTransaction()) return undefined;
    const trx = this.#em.getTransactionContext();
    if (!isTransactor(trx)) return undefined;
    let handle = handles.get(trx);
    if (handle === undefined) handles.set(trx, (handle = knexHandle(trx)));
    return handle;
  }
}

const handles = new WeakMap<object, AsyncHandle>();

function rootOf(manager: () => Manager): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: (work) => manager().transactional(work),
    borrow: () => knexRoot(manager().getConnection('write').getKnex() as Parameters<typeof knexRoot>[0]).borrow(),
  };
}
