/**
 * A library's transaction on top of pg: the client of pg under it is looked up once, and then statements and the commit watch go
 * straight to that. It stands for one transaction: when that has ended, it is over, even if the connection has begun another one
 * for somebody else meanwhile. Only where a statement of the user's own chains (`commit and chain`), under a library that takes its
 * transaction for open all the while, does it go on, with the next one.
 *
 * - open: nothing was seen to the contrary, and the library and the server say so
 * - over: the end of the transaction was seen in the protocol, and none followed at once
 */
import { fail } from '../../errors.ts';
import type { AsyncHandle, TransactionOutcome } from '../handles.ts';
import type { Often, SqlValue } from '../statement.ts';
import { isPgClient, PgHandle } from './pg.ts';
import type { PgNative } from './pg-client.ts';
import { isPgConnection, watchEnd, watchUndone, whileOpen, type PgConnection, type Told } from './pg-watch.ts';

/** What of the library's transaction is known. */
export interface NativeParts {
  /** What the library says; it is asked each time. */
  isOpen(): boolean;
  /** The client of pg, or at least its connection; undefined when it is not pg underneath. Throws or undefined after the end. */
  find(): unknown;
  /** The library's own way, for when only the connection can be found, or not even that. */
  execute?: AsyncHandle['execute'] | undefined;
  /** Calls `told` with the library's own signal, for when there is no connection to watch; false when it has none. */
  onEnd?: ((told: (outcome: TransactionOutcome) => void) => boolean) | undefined;
}

type Found = { readonly client: PgHandle | undefined; readonly connection: PgConnection | undefined };
const NOTHING: Found = { client: undefined, connection: undefined };

export class NativeTransaction implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #parts: NativeParts;
  #finding: Promise<Found> | undefined;
  #found: Found | undefined;
  #over = false;
  /** Transactions whose end was seen. */
  #ended = 0;

  constructor(parts: NativeParts) {
    this.#parts = parts;
  }

  async execute(sql: string, parameters: readonly SqlValue[], often?: Often): ReturnType<AsyncHandle['execute']> {
    const { client } = this.#found ?? (await this.#find());
    const execute = client === undefined ? this.#parts.execute : client.execute.bind(client);
    if (execute === undefined) throw fail('UNKNOWN_HANDLE', 'the library is not over pg');
    return execute(sql, parameters, often);
  }

  /** It has ended, and that was seen. */
  get over(): boolean {
    return this.#over;
  }

  inside(): AsyncHandle['execute'] {
    const found = this.#found ?? NOTHING;
    // Where nothing is watched, only the library can refuse.
    if (found === NOTHING) return (sql, parameters, often) => this.execute(sql, parameters, often);
    const execute = found.client?.inside() ?? this.execute.bind(this);
    const ended = this.#ended;
    return (sql, parameters, often) => execute(sql, whileOpen(parameters, () => this.#ended === ended) as SqlValue[], often);
  }

  inTransaction(): boolean | Promise<boolean> {
    if (this.#over || !this.#parts.isOpen()) return false;
    return this.#found === undefined ? this.#look() : this.#isOpen(this.#found);
  }

  async ready(): Promise<void> {
    if (this.#found === undefined && !this.#over) await this.#find();
  }

  onEnd(told: (outcome: TransactionOutcome) => void): boolean {
    if (this.#over || !this.#parts.isOpen()) return false;
    if (this.#found !== undefined) return this.#watch(this.#found, told);
    // Asked before anything ran through this handle: the connection is found before the transaction's next statement is answered.
    void this.#find().then((found) => {
      if (!this.#watch(found, told)) told('unknown');
    });
    return true;
  }

  onUndone(told: () => void): void {
    if (this.#over || !this.#parts.isOpen()) return;
    if (this.#found !== undefined) undoneOn(this.#found, told);
    else void this.#find().then((found) => undoneOn(found, told));
  }

  async #look(): Promise<boolean> {
    const found = await this.#find();
    return !this.#over && this.#parts.isOpen() && this.#isOpen(found);
  }

  #isOpen({ client }: Found): boolean | Promise<boolean> {
    return client === undefined || client.inTransaction();
  }

  #watch({ client, connection }: Found, told: Told): boolean {
    if (client !== undefined) return client.onEnd(told);
    if (connection === undefined) return this.#parts.onEnd?.((outcome) => told(outcome, false)) ?? false;
    watchEnd(connection, told);
    return true;
  }

  #find(): Promise<Found> {
    this.#finding ??= this.#findOnce();
    return this.#finding;
  }

  async #findOnce(): Promise<Found> {
    let found: Found;
    try {
      found = named(await this.#parts.find());
    } catch {
      // The library refuses: its transaction is over.
      this.#over = true;
      found = NOTHING;
    }
    this.#found = found;
    if (found !== NOTHING) this.#follow(found);
    return found;
  }

  #follow(found: Found): void {
    this.#watch(found, (_outcome, goesOn) => {
      this.#ended++;
      if (goesOn && this.#parts.isOpen()) this.#follow(found);
      else this.#over = true;
    });
  }
}

function undoneOn({ client, connection }: Found, told: () => void): void {
  if (client !== undefined) client.onUndone(told);
  else if (connection !== undefined) watchUndone(connection, told);
}

function named(native: unknown): Found {
  if (isPgClient(native)) return { client: new PgHandle(native as PgNative), connection: undefined };
  return isPgConnection(native) ? { client: undefined, connection: native } : NOTHING;
}
