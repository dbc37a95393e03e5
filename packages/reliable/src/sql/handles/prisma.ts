/**
 * Prisma: the client of an interactive `$transaction` is a handle, the Prisma client a root. Prisma hides its connection and has no
 * hook for a commit, so only `transaction(prisma, fn)` sees it.
 */
import type { AsyncHandle } from '../handles.ts';
import type { SqlValue } from '../statement.ts';
import { withArrayLiterals } from './array-literal.ts';
import { BEGINS, ENDS, LentHandle } from './borrowed.ts';
import { hasMethods, member, type Borrowed, type Library, type LibraryRoot } from './library.ts';

interface PrismaShape {
  $queryRawUnsafe(text: string, ...values: unknown[]): Promise<unknown>;
  $executeRawUnsafe(text: string, ...values: unknown[]): Promise<number>;
}

interface PrismaRootShape extends PrismaShape {
  $transaction<T>(work: (tx: PrismaShape) => Promise<T>, options?: object): Promise<T>;
}

export const prisma: Library = {
  name: 'Prisma',
  handle: (given) => (isPrisma(given) && isTransactionClient(given) ? new PrismaHandle(given) : undefined),
  root: (given) => (isPrisma(given) && !isTransactionClient(given) ? rootOf(given as PrismaRootShape) : undefined),
};

function isPrisma(given: unknown): given is PrismaShape {
  return hasMethods(given, '$queryRawUnsafe', '$executeRawUnsafe');
}

/** By Prisma's own marks (its nested transactions came with version 7), else by what such a client cannot do. */
function isTransactionClient(given: PrismaShape): boolean {
  const marks = given as unknown as Record<symbol, unknown>;
  return MARKS.some((mark) => marks[mark] !== undefined) || !hasMethods(given, '$transaction');
}

const MARKS = [Symbol.for('prisma.client.transaction.scope_context'), Symbol.for('prisma.client.transaction.id')];

/** Prisma has one call for rows and one for a count; which one a statement wants is read from its text. */
async function executeOn(client: PrismaShape, text: string, parameters: readonly SqlValue[]): ReturnType<AsyncHandle['execute']> {
  const values = withArrayLiterals(parameters);
  if (!givesRows(text)) return { rows: [], changes: await client.$executeRawUnsafe(text, ...values) };
  const rows = (await client.$queryRawUnsafe(text, ...values)) as Record<string, unknown>[];
  return { rows, changes: rows.length };
}

/** A query, or a write that ends in RETURNING; in one WITH the last part decides. */
export function givesRows(text: string): boolean {
  if (/\breturning\b(?![^]*\)\s*(select|insert|update|delete)\b)/i.test(text)) return true;
  const last = /^\s*with\b/i.test(text) ? (/[^]*\)\s*(select|insert|update|delete)\b/i.exec(text)?.[1] ?? 'select') : text;
  return /^\s*(select|values|show|table)\b/i.test(last);
}

class PrismaHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #client: PrismaShape;

  constructor(client: PrismaShape) {
    this.#client = client;
  }

  execute(text: string, parameters: readonly SqlValue[]): ReturnType<AsyncHandle['execute']> {
    return executeOn(this.#client, text, parameters);
  }

  /** Nothing short of a statement tells: Prisma refuses one whose transaction is closed, before it reaches the database. */
  async inTransaction(): Promise<boolean> {
    try {
      await this.#client.$queryRawUnsafe('select 1');
      return true;
    } catch (error) {
      if (member(error, 'code') === TRANSACTION_CLOSED) return false;
      throw error;
    }
  }
}

const TRANSACTION_CLOSED = 'P2028';

function rootOf(client: PrismaRootShape): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: (work) => client.$transaction(work),
    borrow: async () => borrow(client),
  };
}

/** Prisma lends no connection; between BEGIN and the end its own transaction stands for one, and without a transaction none is needed. */
function borrow(client: PrismaRootShape): Borrowed {
  let open: OpenTransaction | undefined;
  const handle = new LentHandle(async (text, parameters) => {
    if (BEGINS.test(text)) open = await OpenTransaction.begin(client);
    else if (ENDS.test(text)) await open?.end(/^\s*(commit|end)\b/i.test(text)).finally(() => (open = undefined));
    else return executeOn(open?.client ?? client, text, parameters);
    return { rows: [], changes: 0 };
  });
  return {
    handle,
    async giveBack() {
      await open?.end(false).catch(() => undefined);
    },
  };
}

class OpenTransaction {
  readonly client: PrismaShape;
  readonly #end: (commit: boolean) => void;
  readonly #ended: Promise<unknown>;

  constructor(client: PrismaShape, end: (commit: boolean) => void, ended: Promise<unknown>) {
    this.client = client;
    this.#end = end;
    this.#ended = ended;
  }

  static begin(root: PrismaRootShape): Promise<OpenTransaction> {
    return new Promise((resolve, reject) => {
      const ended: Promise<unknown> = root.$transaction(
        (tx) =>
          new Promise<void>((commit, rollBack) => {
            const end = (commits: boolean): void => (commits ? commit() : rollBack(ROLLED_BACK));
            // Its own promise is known one turn later.
            queueMicrotask(() => resolve(new OpenTransaction(tx, end, ended)));
          }),
        { timeout: TRANSACTION_MS },
      );
      ended.catch(reject);
    });
  }

  async end(commit: boolean): Promise<void> {
    this.#end(commit);
    try {
      await this.#ended;
    } catch (error) {
      if (error !== ROLLED_BACK) throw error;
    }
  }
}

const ROLLED_BACK = new Error('rolled back as asked');
const TRANSACTION_MS = 60_000;
