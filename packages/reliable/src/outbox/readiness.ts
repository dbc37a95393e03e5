/**
 * What has to be known of a server's database before the first message is written: that its settings keep committed work, that the
 * tables are there, and its id. Asked once, on a connection of its own, when the first message wants it; asked again when the answer
 * was an error. SQLite answers these in place and needs none of it.
 */
import type { Timers } from '@tallystick/base';
import { fail } from '../errors.ts';
import { perDialect, codeOf, numberOf } from '../sql/dialect.ts';
import { connectionsOf } from '../sql/connections.ts';
import { assertDurable } from '../sql/durability.ts';
import type { Database } from '../sql/handles.ts';
import { recogniseRoot } from '../sql/handles/recognise.ts';
import { perform, sessionOf, type Session } from '../sql/session.ts';
import { sqlStateOf } from '../sql/sql-state.ts';
import { prepared, run, type Steps } from '../sql/statement.ts';
import { asTextOrNull } from '../sql/values.ts';
import { canWriteTogether } from './outbox-statements.ts';

export class Readiness {
  /** Of the database that is written to; undefined while it is not known. */
  identity: string | undefined;
  readonly #db: Database;
  readonly #durable: boolean;
  readonly #timers: Timers;
  #asking: Promise<void> | undefined;
  #known = false;
  /** Somebody has waited for the present question in vain. */
  #slow = false;
  /** By handle: the database its connection is in. */
  readonly #databases = new WeakMap<Session, string | undefined>();
  /** What was added before the answer was there: the first message of each database. */
  readonly #early = new Map<string, string>();

  constructor(db: Database, durable: boolean, timers: Timers) {
    this.#db = db;
    this.#durable = durable;
    this.#timers = timers;
  }

  get known(): boolean {
    return this.#known;
  }

  /** Throws NOT_DURABLE, NOT_MIGRATED, and what the driver throws. */
  ask(): Promise<void> {
    if (this.#known) return Promise.resolve();
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
      this.#slow = false;
    });
    return this.#asking;
  }

  /**
   * The same for somebody inside a transaction, who may hold the only connection of a pool: waits a moment, then goes on without the id.
   * The question stays asked, and later messages have its answer; until it comes, no other message waits for it.
   */
  askBriefly(): Promise<void> {
    if (this.#slow) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const asked = this.ask();
      const timer = this.#timers.after(WAIT_MS, () => {
        this.#slow = true;
        resolve();
      });
      asked
        .then(resolve, reject)
        .finally(() => this.#timers.cancel(timer))
        .catch(() => undefined);
    });
  }

  /**
   * Looks where the transaction of an asynchronous handle is, by a question on its own connection, once; unless the statement that writes can look
   * itself. Throws WRONG_DATABASE. Before it is known which database is meant, that cannot be waited for, since the transaction may
   * hold the only connection there is: then it is compared as soon as it is known, and a difference is a warning of the process.
   */
  *guard(session: Session, id: string): Steps<void> {
    if (session.kind === 'sync' || (this.#known && canWriteTogether(session.dialect))) return;
    if (!this.#databases.has(session)) this.#databases.set(session, yield* identitySteps(session.dialect));
    const database = this.#databases.get(session);
    if (database === undefined) return;
    if (!this.#known) this.#early.set(database, this.#early.get(database) ?? id);
    else if (this.identity !== undefined && database !== this.identity)
      throw fail('WRONG_DATABASE', `that one is ${this.identity}`);
  }

  #compareEarly(): void {
    for (const [database, id] of this.#early) {
      if (database === this.identity) continue;
      const where = `database ${database}, and is for ${this.identity}`;
      process.emitWarning(`WRONG_DATABASE: message ${id}, and perhaps more, was added to ${where}`, 'TallystickOutbox');
    }
    this.#early.clear();
  }

  async #ask(): Promise<void> {
    if (this.#durable) await assertDurable(this.#db);
    const ask = (session: Session): string | undefined | Promise<string | undefined> =>
      perform(session, identitySteps(session.dialect));
    // A single connection may have the caller's transaction open: the question is a read and may be asked inside it.
    this.identity = await (recogniseRoot(this.#db) !== undefined ? connectionsOf(this.#db).use(ask) : ask(sessionOf(this.#db)));
    this.#known = true;
    this.#compareEarly();
  }
}

const WAIT_MS = 1_000;

type IdentityDialect = Parameters<typeof statementsOf>[0];

function* identitySteps(dialect: IdentityDialect): Steps<string | undefined> {
  try {
    const { rows } = yield* run(statementsOf(dialect)({}));
    return asTextOrNull(rows[0]?.['database_id']) ?? undefined;
  } catch (error) {
    throw isMissing(error) ? fail('NOT_MIGRATED', (error as Error).message, error) : error;
  }
}

const statementsOf = perDialect(({ build }) =>
  prepared<never>(
    build.selectFrom('tallystick_schema').select('database_id').where('database_id', 'is not', null).orderBy('version').limit(1),
  ),
);

/** A table or column of ours is not there. */
export function isMissing(error: unknown): boolean {
  if (['42P01', '42703'].includes(sqlStateOf(error) ?? '')) return true;
  if (['ER_NO_SUCH_TABLE', 'ER_BAD_FIELD_ERROR'].includes(codeOf(error))) return true;
  const message = (error as { message?: unknown } | null | undefined)?.message;
  return (
    numberOf(error, 'errno') === 1146 ||
    (typeof message === 'string' && /no such table: tallystick_|tallystick_\w+ has no column named/.test(message))
  );
}
