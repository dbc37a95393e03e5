/**
 * The inbox makes repeats harmless and failures its own: the sender's message id is written in the same transaction as the business
 * effect, so the effect is there exactly when the id is; a message that cannot be handled is kept in the inbox's own table and tried
 * again from there, without its sender or the broker. This file receives and decides; `attempt.ts` is one attempt under its three
 * guards, `retries.ts` comes back to what failed.
 *
 * ```
 * first delivery   → attempt → committed                       → done
 *                            → it was there already            → confirmed again if the sender asks → done
 *                            → an earlier one of its key waits → kept, waits too                    → done
 *                            → failed                          → kept, tried again later            → done
 * redelivery       → kept, then tried: what kills its process has left a trace by then              → done
 * another delivery of it is at work elsewhere, for long                                             → again
 * the database refuses to keep it                                                                   → again
 * ```
 *
 * `done` acknowledges it at the broker. Leaves to others: the transaction itself (the library's), and what to do about the dead (a person).
 */
import {
  OptionsError,
  resolveOptions,
  type Clock,
  type GivenOptions,
  type Random,
  type Timers,
  type Turn,
} from '@tallystick/base';
import { systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { Calls } from '../call/call.ts';
import { tellOnStandardError } from '../alarm-line.ts';
import { fail } from '../errors.ts';
import { INBOX_OPTIONS, type InboxOptions } from '../options.ts';
import { nameFault } from '../outbox/message.ts';
import { MessageIds } from '../outbox/message-id.ts';
import { Upkeep } from '../upkeep.ts';
import { Underway } from '../underway.ts';
import { comesBack } from '../waits.ts';
import { assertDurable, durably } from '../sql/durability.ts';
import { isSyncHandle, type Answer, type Database, type Handle, type SyncHandle, type TransactionOf } from '../sql/handles.ts';
import { Order } from '../sql/order.ts';
import { perform, performInside, savepointed, sessionOf } from '../sql/session.ts';
import { run, type Steps } from '../sql/statement.ts';
import { refuseAsyncFunction } from '../sql/synchronous.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { tracedReceive } from '../telemetry/traced.ts';
import type { Delivery, Receipt } from '../transports/transport.ts';
import { attemptAt } from './attempt.ts';
import { asksToConfirm, effectsOf, type EmittingOutbox } from './effects.ts';
import { failureOf, refused, type Failure } from './failure.ts';
import { forgetOld } from './forgetting.ts';
import { Gate } from './gate.ts';
import { Handlers, type Handler, type HandleSettings, type Rule } from './handlers.ts';
import type { InboxAlarm } from './inbox-alarm.ts';
import { InboxDatabase } from './inbox-database.ts';
import { AtWorkElsewhere, InboxTable, UNTRIED, type Beginning } from './inbox-table.ts';
import type { KnownDelivery } from './kept.ts';
import { Locks } from './locks.ts';
import { Retries, type InboxCounters, type RetryPorts } from './retries.ts';
import { rowWarning, windowWarning } from './window.ts';

export interface InboxSettings extends GivenOptions<typeof INBOX_OPTIONS> {
  /** Through which handlers `emit`, and confirmations go back to their senders. Of the same database. */
  readonly outbox?: EmittingOutbox | undefined;
  /** Through which handlers `call`; made when absent. */
  readonly calls?: Calls | undefined;
  /** Default: a line on the standard error. */
  readonly onAlarm?: ((alarm: InboxAlarm) => void) | undefined;
  /** `otel(api)`: a span per delivery, as part of the trace that its sender began. */
  readonly telemetry?: Telemetry | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly timers?: Timers | undefined;
  readonly turn?: Turn | undefined;
}

/** `done`: the work ran now. `duplicate`: it ran in an earlier, committed transaction; confirm again. */
export type OnceResult<T> = { readonly outcome: 'done'; readonly value: T } | { readonly outcome: 'duplicate' };

/**
 * Makes the inbox of a consumer. Throws NOT_DURABLE unless the database is made durable or `durability` is `trust`, and OptionsError when
 * keys would be forgotten before the last redelivery.
 */
export function createInbox<R extends Database>(db: R, settings: InboxSettings = {}): Inbox<R> {
  return new Inbox(db, settings);
}

export class Inbox<R extends Database> {
  readonly counters: InboxCounters = { handled: 0, duplicates: 0, failed: 0, dead: 0, forgotten: 0, unconfirmed: 0 };
  readonly #db: R;
  readonly #settings: InboxSettings;
  readonly #options: InboxOptions;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #ids: MessageIds;
  readonly #calls: Calls;
  readonly #database: InboxDatabase<TransactionOf<R>>;
  readonly #table: InboxTable<TransactionOf<R>>;
  readonly #handlers: Handlers<TransactionOf<R>>;
  readonly #ports: RetryPorts<TransactionOf<R>>;
  readonly #retries: Retries<TransactionOf<R>>;
  /** Forgets for an inbox that is never started. */
  readonly #upkeep: Upkeep;
  readonly #traced: (delivery: Delivery) => Promise<Receipt>;
  readonly #atWork = new WeakMap<object, string>();
  readonly #receiving = new Underway();
  /** The database's settings have been looked at. */
  #known: boolean;
  #stopping: Promise<void> | undefined;

  constructor(db: R, settings: InboxSettings) {
    const { outbox: _outbox, calls, onAlarm: _onAlarm, telemetry, clock, random, timers, turn, ...given } = settings;
    this.#db = db;
    this.#settings = settings;
    this.#options = checked(resolveOptions('inbox', INBOX_OPTIONS, given));
    if (this.#options.durability === 'require' && isSyncHandle(db)) assertDurable(db);
    this.#known = isSyncHandle(db);
    const dice = random ?? systemRandom();
    this.#clock = clock ?? systemClock;
    this.#timers = timers ?? systemTimers();
    this.#ids = new MessageIds(this.#clock, dice);
    const { durability } = this.#options;
    this.#calls = calls ?? new Calls(db, { durability, clock, random, timers });
    this.#database = new InboxDatabase(db, { databaseAfterMs: this.#options.databaseAfterMs, timers: this.#timers });
    const { consumer, deadKeys } = this.#options;
    this.#table = new InboxTable(this.#database, consumer, deadKeys, this.#clock);
    this.#handlers = new Handlers(this.#options);
    const ports = { clock: this.#clock, timers: this.#timers, random: dice };
    this.#ports = {
      ...ports,
      turn: turn ?? systemTurn(),
      database: this.#database,
      locks: new Locks(this.#database, ports),
      effects: effectsOf({
        outbox: settings.outbox,
        calls: this.#calls,
        consumer,
        clock: this.#clock,
        counters: this.counters,
        tell: (alarm) => this.#tell(alarm),
      }),
      atWork: this.#atWork,
      table: this.#table,
      handlers: this.#handlers,
      gate: new Gate(),
      options: this.#options,
      counters: this.counters,
      tell: (alarm) => this.#tell(alarm),
    };
    this.#retries = new Retries(this.#ports);
    this.#upkeep = new Upkeep({
      clock: this.#clock,
      timers: timers ?? systemTimers({ unref: true }),
      everyMs: this.#options.forgetIntervalMs,
      step: () => forgetOld(this.#ports),
    });
    const receive = (delivery: Delivery): Promise<Receipt> => this.#receive(delivery).catch(againIfAtWork);
    this.#traced = telemetry === undefined ? receive : tracedReceive(receive, telemetry);
  }

  /**
   * Runs `work` once per key, inside the transaction that is open on `tx`; `key` is the sender's id of the message. If `work` throws, key and
   * effects are undone even when the caller catches the error and commits. Of several that are begun at once in one transaction each
   * waits for the one before. Throws NOT_IN_TRANSACTION, ASYNC_IN_SYNC, BAD_KEY (also for the message whose handler this is), and
   * INBOX_STATE for a message that `handle` keeps because it failed.
   */
  once<T extends Handle, V>(tx: T, key: string, work: (tx: T) => V): Answer<T, OnceResult<Awaited<V>>> {
    const session = sessionOf(tx);
    if (session.kind === 'sync') refuseAsyncFunction(work);
    const { dialect } = session;
    const order = session.kind === 'sync' ? undefined : Order.of(session);
    const steps = savepointed(
      dialect,
      this.#once(session, key, () => (order === undefined ? work(tx) : order.within(() => work(tx)))),
    );
    const once = performInside(session, () => steps, true);
    return once as Answer<T, OnceResult<Awaited<V>>>;
  }

  *#once<V>(session: object, key: string, work: () => V): Steps<OnceResult<Awaited<V>>> {
    const fault = nameFault('key', key, KEY_MAX);
    if (fault !== undefined) throw fail('BAD_KEY', fault);
    // It is there already, written for the handler in whose transaction this is: the work would never run.
    if (this.#atWork.get(session) === key) throw fail('BAD_KEY', `${key} is the message that is being handled here`);
    yield* this.#durably();
    this.#keepUp();
    const marked = yield* this.#table.once({ ...NAMELESS, id: key });
    if (marked !== 'marked') {
      const row = yield* this.#table.find(key);
      if (row !== undefined && row.state !== 'done')
        throw fail('INBOX_STATE', `${key} is kept to be tried again: it is ${row.state}`);
      yield* this.#renewed(key);
      return { outcome: 'duplicate' };
    }
    const { value } = yield* run({ call: work });
    return { outcome: 'done', value: value as Awaited<V> };
  }

  /**
   * Registers the handler of a message type; `*` handles what no other does. On a synchronous database it must be synchronous. `Payload` is
   * what the sender's `msg<Payload>()` says of the type. Throws HANDLER_TAKEN, OptionsError.
   */
  handle<Payload = unknown>(
    type: string,
    handler: Handler<TransactionOf<R>, Payload>,
    settings: HandleSettings<TransactionOf<R>> = {},
  ): this {
    if (this.#database.kind === 'sync') refuseAsyncFunction(handler);
    this.#handlers.add(type, handler as Handler<TransactionOf<R>>, settings);
    return this;
  }

  /** Receives a message; hand it to a subscriber: `subscriber.subscribe(queue, inbox.receive)`. Never rejects. */
  readonly receive = (delivery: Delivery): Promise<Receipt> => {
    if (this.#stopping !== undefined) return Promise.resolve('again');
    this.#keepUp();
    return this.#receiving.run(() =>
      this.#traced(delivery).then(
        (receipt) => (this.#retries.worked(), receipt),
        (error: unknown): Receipt => (this.#retries.refused(error), 'again'),
      ),
    );
  };

  /** Begins to try again what failed, at once and then on schedule, and to forget old keys. Throws INBOX_STATE when started before. */
  start(): void {
    this.#retries.start();
  }

  /** Looks for due retries at the end of this turn. */
  wake(): void {
    this.#retries.wake();
  }

  /** Tries again all that is due now; needs no start(). Returns how many effects were committed meanwhile. */
  drain(): Promise<number> {
    return this.#retries.drain();
  }

  /** Takes nothing more, waits for handlers at work (at most `stopAfterMs`), gives the leases back. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#upkeep.stop();
    await comesBack(this.#receiving.ended(), this.#options.stopAfterMs, this.#timers);
    await this.#retries.stop();
  }

  /**
   * A person wants a dead or waiting message tried again now, with a fresh account. `warning` when it is older than the keys
   * that are kept: others may have forgotten it, and would take what it causes for new.
   */
  async retry(id: string): Promise<{ readonly changed: boolean; readonly warning: string | undefined }> {
    const row = await this.#table.row(id);
    const sentAt = row && (await this.#table.delivery(row))?.sentAt;
    const changed = row !== undefined && (await this.#table.retry(id));
    const warning = row && rowWarning({ ...row, sentAt }, this.#options.keepKeysMs, this.#clock.now());
    if (changed) this.wake();
    return { changed, warning };
  }

  /** Forgets keys older than `olderThanMs`, at most `rowsMax` at a time; returns how many. Repeats of these would run again. */
  forget(olderThanMs: number, rowsMax = 10_000): Answer<R, number> {
    const steps = this.#table.forget(olderThanMs, rowsMax);
    const forgotten =
      this.#database.kind === 'sync' ? perform(sessionOf(this.#db as SyncHandle), steps) : this.#database.atomically(steps);
    return forgotten as Answer<R, number>;
  }

  /** A key is about to be written: who is never started does not look, and forgets by the way. */
  #keepUp(): void {
    if (this.#retries.state === 'new') this.#upkeep.touched();
  }

  /** A server is asked for its settings once, at the first message. */
  *#durably(): Steps<void> {
    if (this.#options.durability === 'require') yield* durably(this.#db, this.#database.dialect);
    this.#known = true;
  }

  async #receive(given: Delivery): Promise<Receipt> {
    if (!this.#known) await this.#database.run(this.#durably());
    const rule = this.#handlers.of(given.type);
    const { id, fault } = nameOf(given, rule);
    if (fault !== undefined) return this.#refuse(given, fault);
    const delivery: KnownDelivery = id === given.id ? given : Object.assign({}, given, { id, serial: given.id });
    const warning = windowWarning(given, this.#options.keepKeysMs, this.#clock.now());
    if (warning !== undefined) {
      // What is in the table is not forgotten.
      if ((await this.#table.row(id)) !== undefined) return this.#again(delivery);
      this.#tell({ kind: 'old', id, warning });
      if (this.#options.oldMessages === 'hold') return this.#keepFailed(delivery, rule, refused('old', warning), 0);
    }
    if (delivery.redelivered) return this.#takeIn(delivery, rule);
    return this.#first(delivery, rule);
  }

  async #first(delivery: KnownDelivery, rule: Rule<TransactionOf<R>>): Promise<Receipt> {
    const mark = (): Steps<'marked' | 'duplicate' | 'behind'> => this.#table.mark(delivery, orderedKey(delivery, rule));
    const attempt = { delivery, rule, attempts: 0, mark };
    const result = await this.#ports.gate.shared(() => attemptAt(attempt, this.#ports));
    if (result.kind === 'duplicate') return this.#again(delivery);
    if (result.kind === 'behind') return this.#takeIn(delivery, rule);
    if (result.kind === 'failed') {
      if (result.error instanceof AtWorkElsewhere) throw result.error;
      const failure = failureOf(UNTRIED, result.error, rule.options, this.#ports.random.u32());
      return this.#keepFailed(delivery, rule, failure, 1);
    }
    this.counters.handled++;
    return 'done';
  }

  /** A message whose effect is there, or that is in the table already: its confirmation may be what was lost. */
  async #again(delivery: KnownDelivery): Promise<Receipt> {
    this.counters.duplicates++;
    await this.#database.alone(this.#renewed(delivery.id));
    if (!asksToConfirm(delivery)) return 'done';
    if ((await this.#table.row(delivery.id))?.state === 'done') await this.#confirmAlone(delivery);
    return 'done';
  }

  /**
   * What is repeated at least twice in `keepKeysMs` is recognised for ever. A key younger than half of that stays as it is: repeats in
   * quick succession write nothing.
   */
  #renewed(id: string): Steps<void> {
    return this.#table.renew(id, Math.floor(this.#options.keepKeysMs / 2));
  }

  async #confirmAlone(delivery: KnownDelivery): Promise<void> {
    const { effects } = this.#ports;
    await this.#database.transaction((tx) => run({ call: () => effects.confirm(tx, delivery) }));
  }

  /** Keeps a message before it is tried. */
  async #takeIn(delivery: KnownDelivery, rule: Rule<TransactionOf<R>>): Promise<Receipt> {
    const { row, isNew } = await this.#table.keep(delivery, orderedKey(delivery, rule) !== undefined, UNTRIED);
    if (row.state === 'done' || row.state === 'buried') return this.#again(delivery);
    // What is there already is left to its schedule: this may be the delivery after a death.
    if (isNew && !(await this.#table.isBehind(row))) await this.#retries.tryNow(row);
    return 'done';
  }

  async #keepFailed(delivery: KnownDelivery, rule: Rule<TransactionOf<R>>, failure: Failure, started: number): Promise<Receipt> {
    const beginning: Beginning = { started, ...failure };
    const { row, isNew } = await this.#table.keep(delivery, orderedKey(delivery, rule) !== undefined, beginning);
    if (isNew) this.#retries.failed(delivery, failure);
    // The commit that seemed to fail had not, or another delivery of the same message was faster.
    else if (row.state === 'done') return this.#again(delivery);
    return 'done';
  }

  /** A message that cannot be told from another one. It is not handled, and not lost. */
  async #refuse(delivery: Delivery, fault: string): Promise<Receipt> {
    const failure = refused('unreadable', `${fault}, so that repeats could not be recognised (give the handler an idOf)`);
    const kept = { ...delivery, id: this.#ids.next(), serial: String(delivery.id) };
    await this.#table.keep(kept, false, { started: 0, ...failure });
    this.#retries.failed(kept, failure);
    return 'done';
  }

  #tell(alarm: InboxAlarm): void {
    try {
      const { onAlarm } = this.#settings;
      if (onAlarm === undefined) tellOnStandardError('inbox', alarm);
      else onAlarm(alarm);
    } catch {
      // The listener's failure is not the inbox's: messages go on.
    }
  }
}

/** Nothing is wrong: the message comes again when that delivery has ended, or a little later. */
function againIfAtWork(error: unknown): Receipt {
  if (error instanceof AtWorkElsewhere) return 'again';
  throw error;
}

/** Longest id, in characters: what every dialect can index. */
const KEY_MAX = 128;

const NAMELESS: Delivery = { id: '', topic: '', headers: new Map(), body: new Uint8Array(0), redelivered: false };

/** The id by which a delivery is recognised, or why it has none: whatever its sender wrote, it can be kept. */
function nameOf<Tx>(delivery: Delivery, rule: Rule<Tx>): { readonly id: string; readonly fault: string | undefined } {
  try {
    const id = rule.idOf?.(delivery) ?? delivery.id;
    return { id, fault: nameFault('its id', id, KEY_MAX) };
  } catch (error) {
    return { id: '', fault: `idOf threw ${String(error)}` };
  }
}

/** The key behind whose failed messages this one waits. */
function orderedKey<Tx>(delivery: Delivery, rule: Rule<Tx>): string | undefined {
  return rule.options.order === 'wait' ? delivery.key : undefined;
}

/** A key that is forgotten while its message may still come again lets the effect happen twice. */
function checked(options: InboxOptions): InboxOptions {
  const { consumer, keepKeysMs, redeliveryMs } = options;
  if (keepKeysMs < redeliveryMs)
    throw new OptionsError('inbox', [
      `keepKeysMs must be at least redeliveryMs (${redeliveryMs}), the time in which a message may come again, not ${keepKeysMs}`,
    ]);
  const usual = INBOX_OPTIONS.keepKeysMs.default;
  if (keepKeysMs < usual)
    process.emitWarning(
      `inbox ${JSON.stringify(consumer)}: keys are kept for ${keepKeysMs} ms (keepKeysMs), not for the usual ${usual}: ` +
        `whatever comes again later than that has its effect twice, and redeliveryMs (${redeliveryMs}) says that nothing does`,
      'TallystickInbox',
    );
  return options;
}
