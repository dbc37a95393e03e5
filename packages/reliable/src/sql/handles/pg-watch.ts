/**
 * Sees the end of a transaction in pg's own protocol stream, without a wrapper and whoever sends the COMMIT: the server tags the
 * command that ended it and then says, with ReadyForQuery, that no transaction is open. So a COMMIT of a failed transaction, which the
 * server turns into a rollback and tags so, counts as one, and savepoints do not count at all. A rollback to a savepoint is told to those who
 * came after it. One pair of listeners per connection, there only while somebody waits.
 */
import { fail } from '../../errors.ts';
import type { TransactionOutcome } from '../handles.ts';
import { controlsOf, type Control } from './control.ts';
import { hasMethods, member, textOr } from './library.ts';
import { Savepoints } from './savepoints.ts';
import { textOnItsWay } from './sent-texts.ts';

/** `client.connection` of pg: an emitter of the protocol's messages. */
export interface PgConnection {
  on(event: string, listener: (message: never) => void): unknown;
  prependListener?(event: string, listener: (message: never) => void): unknown;
  removeListener(event: string, listener: (message: never) => void): unknown;
}

export function isPgConnection(given: unknown): given is PgConnection {
  return hasMethods(given, 'on', 'removeListener') && hasMethods(given, 'query', 'parse', 'sync');
}

/** `goesOn`: another transaction was open on the connection when the end of this one was told, as after `commit and chain`. */
export type Told = (outcome: TransactionOutcome, goesOn: boolean) => void;

/**
 * Calls `told` once, when the transaction open on the connection now has ended. `textOf` is the statement being answered; without it the
 * connection itself is listened to for what it sends. Whoever watches again as it is told, and nothing is open, is told of the next
 * transaction, if one begins.
 */
export function watchEnd(connection: PgConnection, told: Told, textOf?: () => unknown): void {
  watchOf(connection, textOf).add(told);
}

/** Calls `told` at most once, when a savepoint that is open now is rolled back before the transaction ends. */
export function watchUndone(connection: PgConnection, told: () => void, textOf?: () => unknown): void {
  watchOf(connection, textOf).addUndone(told);
}

function watchOf(connection: PgConnection, textOf: (() => unknown) | undefined): PgWatch {
  let watch = watches.get(connection);
  if (watch === undefined) watches.set(connection, (watch = new PgWatch(connection, textOf ?? textOnItsWay(connection))));
  return watch;
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
  readonly #textOf: () => unknown;
  #listening = false;
  /** Nothing is open: whoever watches does so since the last end was told. */
  #idle = false;
  #told: Told[] = [];
  #savepoints = new Savepoints();
  /** What the commands since the last ReadyForQuery have done to the transaction. */
  #seen: TransactionOutcome | undefined;
  #tag = '';
  /** Commands since the last ReadyForQuery. */
  #commands = 0;
  #controls: readonly (Control | undefined)[] | undefined;
  /** A rollback of something, and the text does not say of what. */
  #unclear = false;

  constructor(connection: PgConnection, textOf: () => unknown) {
    this.#connection = connection;
    this.#textOf = textOf;
  }

  add(told: Told): void {
    this.#listen();
    this.#told.push(told);
  }

  addUndone(told: () => void): void {
    this.#listen();
    this.#savepoints.whenUndone(told);
  }

  readonly #completed = (message: { readonly text?: unknown }): void => {
    this.#tag = String(member(message, 'text'));
    const at = this.#commands++;
    if (this.#idle) this.#idle = !BEGINS.includes(this.#tag);
    // With nothing open a commit or a rollback does nothing.
    if (this.#idle) return;
    // What comes after it in the same text is the next transaction's.
    if (this.#seen !== undefined) return;
    if (this.#tag === 'COMMIT') this.#seen = 'commit';
    // One text that rolls back and begins anew; were the rollback a savepoint's, the transaction could not begin again.
    else if (this.#unclear && BEGINS.includes(this.#tag)) this.#seen = 'rollback';
    else if (OF_SAVEPOINTS.includes(this.#tag)) this.#controlled(at);
  };

  #controlled(at: number): void {
    this.#controls ??= controlsOf(textOr(this.#textOf()));
    const control = this.#controls[at];
    const name = control === undefined || control.does === 'end' ? undefined : control.name;
    if (this.#tag === 'SAVEPOINT') this.#savepoints.made(name);
    else if (this.#tag === 'RELEASE') this.#savepoints.released(name);
    else if (control?.does === 'undo') this.#savepoints.undone(name);
    // Also the commit of a failed transaction, and one that chains: then a transaction is open afterwards, too.
    else if (control?.does === 'end') this.#seen = 'rollback';
    else this.#unclear = true;
  }

  readonly #ready = (message: { readonly status?: unknown }): void => {
    const goesOn = member(message, 'status') !== 'I';
    if (goesOn) this.#idle = false;
    if (this.#idle) return this.#forgetCommands();
    if (this.#seen === undefined && !goesOn) this.#seen = this.#tag === 'PREPARE TRANSACTION' ? 'unknown' : 'rollback';
    // A savepoint, and nobody knows which: what may have been undone must not be taken for done.
    if (this.#seen === undefined && this.#unclear) this.#savepoints.undone(undefined);
    this.#forgetCommands();
    if (this.#seen !== undefined) this.#end(this.#seen, goesOn);
  };

  readonly #gone = (): void => {
    if (this.#idle) this.#told = [];
    this.#end('unknown', false);
  };

  #forgetCommands(): void {
    this.#tag = '';
    this.#commands = 0;
    this.#controls = undefined;
    this.#unclear = false;
  }

  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    this.#seen = undefined;
    this.#savepoints = new Savepoints();
    this.#forgetCommands();
    this.#connection.on('commandComplete', this.#completed);
    // Before the client, which sends its next statement there.
    if (this.#connection.prependListener === undefined) this.#connection.on('readyForQuery', this.#ready);
    else this.#connection.prependListener('readyForQuery', this.#ready);
    this.#connection.on('end', this.#gone);
  }

  #end(outcome: TransactionOutcome, goesOn: boolean): void {
    this.#connection.removeListener('commandComplete', this.#completed);
    this.#connection.removeListener('readyForQuery', this.#ready);
    this.#connection.removeListener('end', this.#gone);
    this.#listening = false;
    const waiting = this.#told;
    this.#told = [];
    this.#idle = !goesOn;
    for (const told of waiting) told(outcome, goesOn);
    if (!this.#listening) this.#idle = false;
  }
}

const BEGINS = ['BEGIN', 'START TRANSACTION'];
const OF_SAVEPOINTS = ['SAVEPOINT', 'RELEASE', 'ROLLBACK'];
