/** TypeORM: the EntityManager of a transaction and a QueryRunner are handles, the DataSource (or a manager outside of one) is a root. */
import { fail } from '../../errors.ts';
import type { AsyncHandle } from '../handles.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';
import { NativeTransaction } from './native.ts';
import { isPgClient, PgHandle } from './pg.ts';

interface QueryRunner {
  readonly isTransactionActive: boolean;
  readonly isReleased: boolean;
  connect(): Promise<unknown>;
  release(): Promise<void>;
  releasePostgresConnection?(error: Error): Promise<void>;
}

interface Beginner {
  transaction<T>(work: (manager: object) => Promise<T>): Promise<T>;
}

interface DataSource extends Beginner {
  createQueryRunner(): QueryRunner;
}

export const typeorm: Library = {
  name: 'TypeORM',
  handle(given) {
    const runner = isQueryRunner(given) ? given : isManager(given) ? member(given, 'queryRunner') : undefined;
    return isQueryRunner(runner) ? handleOf(runner) : undefined;
  },
  root(given) {
    if (isDataSource(given)) return rootOf(given, given);
    const source = isManager(given) && member(given, 'queryRunner') === undefined ? sourceOf(given) : undefined;
    return isDataSource(source) ? rootOf(source, given as unknown as Beginner) : undefined;
  },
};

function isQueryRunner(given: unknown): given is QueryRunner {
  return (
    hasMethods(given, 'connect', 'query', 'startTransaction', 'release') &&
    typeof member(given, 'isTransactionActive') === 'boolean'
  );
}

function isManager(given: unknown): given is object {
  return hasMethods(given, 'query', 'transaction', 'getRepository', 'createQueryBuilder') && sourceOf(given) !== undefined;
}

function sourceOf(given: unknown): unknown {
  return member(given, 'dataSource') ?? member(given, 'connection');
}

function isDataSource(given: unknown): given is DataSource {
  return (
    hasMethods(given, 'createQueryRunner', 'transaction', 'getRepository') &&
    member(member(given, 'options'), 'type') === 'postgres'
  );
}

function handleOf(runner: QueryRunner): AsyncHandle {
  return new RunnerHandle(runner);
}

/** A QueryRunner may begin one transaction after the other, until it is released; each use asks for the present one. */
class RunnerHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #runner: QueryRunner;
  #last: NativeTransaction | undefined;

  constructor(runner: QueryRunner) {
    this.#runner = runner;
  }

  execute(...given: Parameters<AsyncHandle['execute']>): ReturnType<AsyncHandle['execute']> {
    return this.#present().execute(...given);
  }

  inside(): AsyncHandle['execute'] {
    return this.#present().inside();
  }

  inTransaction(): boolean | Promise<boolean> {
    return this.#present().inTransaction();
  }

  ready(): Promise<void> {
    return this.#present().ready();
  }

  onEnd(...given: Parameters<NativeTransaction['onEnd']>): boolean {
    return this.#present().onEnd(...given);
  }

  onUndone(told: () => void): void {
    this.#present().onUndone(told);
  }

  #present(): NativeTransaction {
    const isOpen = (): boolean => this.#runner.isTransactionActive && !this.#runner.isReleased;
    if (this.#last === undefined || (this.#last.over && isOpen()))
      this.#last = new NativeTransaction({ isOpen, find: () => this.#runner.connect() });
    return this.#last;
  }
}

function rootOf(source: DataSource, beginner: Beginner): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: (work) => beginner.transaction(work),
    async borrow() {
      const runner = source.createQueryRunner();
      const client = await runner.connect();
      if (!isPgClient(client)) {
        await runner.release();
        throw fail('UNKNOWN_HANDLE', 'TypeORM is not over pg');
      }
      const handle = new PgHandle(client);
      return {
        handle,
        async giveBack(broken) {
          const open = broken || (await handle.inTransaction());
          if (open && runner.releasePostgresConnection !== undefined)
            await runner.releasePostgresConnection(new Error('given back broken'));
          else await runner.release();
        },
      };
    },
  };
}
