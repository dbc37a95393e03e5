/**
 * Sees the end of a transaction in pg's own protocol stream, without a wrapper and whoever sends the COMMIT: the server tags the
 * command that ended it and then says, with ReadyForQuery, that no transaction is open. So a COMMIT of a failed transaction, which the
 * server turns into a rollback and tags so, counts as one, and savepoints do not count at all. One pair of listeners per connection,
 * there only while somebody waits.
 */
import { fail } from '../../errors.ts';
import type { TransactionOutcome } from '../handles.ts';
import { hasMethods, member } from './library.ts';

/** `client.connection` of pg: an emitter of the protocol's messages. */
export interface PgConnection {
  on(event: string, listener: (message: never) => void): unknown;
  prependListener?(event: string, listener: (message: never) => void): unknown;
  removeListener(event: string, listener: (message: never) => void): unknown;
}

export function isPgConnection(given: unknown): given is PgConnection {
  return hasMethods(given, 'on', 'removeListener') && hasMethods(given, 'query', 'parse', 'sync');
}

type Told = (outcome: TransactionOutcome) => void;

/** Calls `told` once, when the transaction open on the connection now has ended; `textOf` is the statement being answered, where known. */
export function watchEnd(connection: PgConnection, told: Told, textOf?: () => unknown): void {
  let watch = watches.get(connection);
  if (watch === undefined) watches.set(connection, (watch = new PgWatch(connection)));
  watch.add(told, textOf);
}

const watches = new WeakMap<PgConnection, PgWatch>();

/** The transaction that is open on the connection now; `over` as soon as its end is seen, before the client sends anything more. */
export function openOn(connection: PgConnection, textOf: () => unknown): { readonly over: boolean } {
  let open = opens.get(connection);
  if (open === undefined || open.over) {
    const fresh = { over: false };
    open = fresh;
    opens.set(connection, fresh);
    watchEnd(connection, () => (fresh.over = true), textOf);
  }
  return open;
}

const opens = new WeakMap<PgConnection, { over: boolean }>();

/**
 * Parameters of a statement that must not leave when its turn comes after the end of its transaction: pg asks the first of them for
 * its value in the moment in which it sends the statement.
 */
export function whileOpen(parameters: readonly unknown[], isOpen: () => boolean): unknown[] {
  const [first, ...rest] = parameters;
  if (parameters.length === 0) return [];
  const asked = {
    toPostgres: (): unknown => {
      if (!isOpen()) throw fail('NOT_IN_TRANSACTION', 'it ended before this was written: await every write inside of it');
      return first;
    },
  };
  return [asked, ...rest];
}

class PgWatch {
  readonly #connection: PgConnection;
  #textOf: (() => unknown) | undefined;
  #told: Told[] = [];
  /** What the commands since the last ReadyForQuery have done to the transaction. */
  #seen: TransactionOutcome | undefined;
  #tag = '';

  constructor(connection: PgConnection) {
    this.#connection = connection;
  }

  add(told: Told, textOf: (() => unknown) | undefined): void {
    this.#textOf ??= textOf;
    if (this.#told.length === 0) this.#listen();
    this.#told.push(told);
  }

  readonly #completed = (message: { readonly text?: unknown }): void => {
    const before = this.#tag;
    this.#tag = String(member(message, 'text'));
    if (this.#tag === 'COMMIT') this.#seen ??= 'commit';
    // One text that rolls back and begins anew; were the rollback a savepoint's, the transaction could not begin again.
    else if (before === 'ROLLBACK' && BEGINS.includes(this.#tag)) this.#seen ??= 'rollback';
    // The only rollback that goes on with an open transaction of another kind than a savepoint's; the tag does not tell them apart.
    else if (this.#tag === 'ROLLBACK' && CHAINS.test(String(this.#textOf?.()))) this.#seen ??= 'rollback';
  };

  readonly #ready = (message: { readonly status?: unknown }): void => {
    if (this.#seen === undefined && member(message, 'status') === 'I')
      this.#seen = this.#tag === 'PREPARE TRANSACTION' ? 'unknown' : 'rollback';
    this.#tag = '';
    if (this.#seen !== undefined) this.#end(this.#seen);
  };

  readonly #gone = (): void => this.#end('unknown');

  #listen(): void {
    this.#seen = undefined;
    this.#tag = '';
    this.#connection.on('commandComplete', this.#completed);
    // Before the client, which sends its next statement there.
    if (this.#connection.prependListener === undefined) this.#connection.on('readyForQuery', this.#ready);
    else this.#connection.prependListener('readyForQuery', this.#ready);
    this.#connection.on('end', this.#gone);
  }

  #end(outcome: TransactionOutcome): void {
    this.#connection.removeListener('commandComplete', this.#completed);
    this.#connection.removeListener('readyForQuery', this.#ready);
    this.#connection.removeListener('end', this.#gone);
    const waiting = this.#told;
    this.#told = [];
    for (const told of waiting) told(outcome);
  }
}

const BEGINS = ['BEGIN', 'START TRANSACTION'];
const CHAINS = /\band\s+chain\b/i;
