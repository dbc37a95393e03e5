/**
 * The outbox (local message table): a message is a row of the same transaction as the business change, so both are committed or
 * neither. This file says what is recorded, `writing.ts` how; the relay triggers, sweeps and settles. Promises: a message added and committed is pushed until a
 * broker confirms it (or its consumer, where its type asks for that) or a person decides; one whose transaction is rolled back never
 * leaves; when `add` throws, nothing of the message was written. Volatile messages are the exception that their name says. Leaves to
 * others: the transaction itself, and telling duplicates apart (the receiver's inbox).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  resolveOptions,
  type Clock,
  type GivenOptions,
  type Options,
  type Random,
  type Timers,
  type Turn,
} from '@tallystick/base';
import { systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { OUTBOX_OPTIONS } from '../options.ts';
import { connectionsOf, type Connections } from '../sql/connections.ts';
import type { Answer, Database, Handle, TransactionOf } from '../sql/handles.ts';
import { atomically, perform, performInside, sessionOf, undivided, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';
import { transaction } from '../sql/transaction.ts';
import type { AddTrace, Telemetry } from '../telemetry/telemetry.ts';
import type { Delivery, OutgoingMessage, PublishOutcome, Receipt, Transport } from '../transports/transport.ts';
import { AfterCommit, whenEnded } from './after-commit.ts';
import { confirmSteps, type ConfirmOutcome } from './confirm.ts';
import {
  handleConfirmations,
  receiveConfirmations,
  type ConfirmationCounters,
  type ConfirmationHandlerOptions,
  Strangers,
  type ConfirmationPorts,
} from './confirmations.ts';
import { checked, typeOf, type CheckedMessage } from './message.ts';
import { MessageIds } from './message-id.ts';
import type { GuaranteeOf, Guarantee, MessageId, MessageTypes, NewMessage, NewMessageOf } from './message-types.ts';
import { lostAlarm, type OutboxAlarm } from './outbox-alarm.ts';
import { canWriteTogether } from './outbox-statements.ts';
import { statusSteps, type StatusAnswer, type StatusQuestion } from './status.ts';
import { lostLine, VolatileQueue, type Lost, type VolatileCounters } from './volatile.ts';
import { Writing } from './writing.ts';

export interface OutboxSettings<Types extends MessageTypes = MessageTypes> extends GivenOptions<typeof OUTBOX_OPTIONS> {
  /** The types of message there are, by name; a message of another type is refused then. Made with `msg<Payload>({ … })`. */
  readonly messages?: Types | undefined;
  /** Called soon after a commit with messages in it; hand in `() => relay.wake()`. Without it the sweep finds them. */
  readonly wake?: (() => void) | undefined;
  /** For `volatile` messages only. */
  readonly transport?: Transport | undefined;
  /** A volatile message that will not be tried again, told as an alarm: hand in `alarms.feed`. */
  readonly onAlarm?: ((alarm: OutboxAlarm) => void) | undefined;
  /** The same message whole. It is in the log already. */
  readonly onLost?: ((message: OutgoingMessage, outcome: PublishOutcome, tries: number) => void) | undefined;
  /** Takes a lost message whole, as one line of JSON. Default: standard error. */
  readonly log?: ((line: string) => void) | undefined;
  /** `otel(api)`: spans, metrics and trace headers. */
  readonly telemetry?: Telemetry | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly turn?: Turn | undefined;
  readonly timers?: Timers | undefined;
}

/** Since the outbox was made. */
export interface OutboxCounters {
  /** Messages written; their transactions may still have been rolled back. */
  added: number;
  readonly volatile: Readonly<VolatileCounters>;
  readonly confirmations: Readonly<ConfirmationCounters>;
}

/**
 * Makes the outbox of a database. Throws NOT_DURABLE for a SQLite handle that cannot be made durable, unless `durability` is `trust`; a
 * server is asked by `ready()`, or by the first message.
 */
export function createOutbox<H extends Database, const Types extends MessageTypes = MessageTypes>(
  db: H,
  settings: OutboxSettings<Types> = {},
): Outbox<H, Types> {
  return new Outbox(db, settings);
}

/** `Outbox`, without more, is any outbox, whatever its database and types. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- nothing else is assignable from every outbox
export class Outbox<H extends Database = any, Types extends MessageTypes = any> {
  readonly counters: OutboxCounters;
  readonly #db: H;
  readonly #settings: OutboxSettings;
  readonly #options: Options<typeof OUTBOX_OPTIONS>;
  readonly #clock: Clock;
  readonly #ids: MessageIds;
  readonly #ports: { readonly turn: Turn; readonly timers: Timers };
  readonly #writers = new WeakMap<object, OutboxWriter<Handle>>();
  readonly #writing: Writing;
  readonly #volatile: VolatileQueue | undefined;
  readonly #confirmations: ConfirmationCounters = {
    confirmed: 0,
    repeated: 0,
    buried: 0,
    elsewhere: 0,
    unknown: 0,
    malformed: 0,
    failed: 0,
  };
  readonly #strangers = new Strangers();
  /** Why the database refused a confirmation last. */
  #refusal = '';
  #connections: Connections | undefined;

  constructor(db: H, settings: OutboxSettings<Types>) {
    const { messages, wake: _wake, transport, onLost: _onLost, onAlarm: _onAlarm, ...rest } = settings;
    const { log: _log, telemetry: _telemetry, clock, random, turn, timers, ...given } = rest;
    this.#db = db;
    this.#settings = settings;
    this.#options = resolveOptions('outbox', OUTBOX_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    this.#ids = new MessageIds(this.#clock, random ?? systemRandom());
    this.#ports = { turn: turn ?? systemTurn(), timers: timers ?? systemTimers({ unref: true }) };
    const order = { ...this.#options, table: 'tallystick_outbox' } as const;
    this.#writing = new Writing(db, order, { clock: this.#clock, timers: this.#ports.timers });
    const lost = (one: Lost): void => this.#lost(one);
    // What waits in memory keeps the process alive until it has left or is told lost.
    const ports = {
      clock: this.#clock,
      random: random ?? systemRandom(),
      timers: timers ?? systemTimers(),
      turn: this.#ports.turn,
    };
    this.#volatile = transport === undefined ? undefined : new VolatileQueue(this.#options, { ...ports, transport, lost });
    refuseVolatileTypes(messages, transport);
    this.counters = {
      added: 0,
      volatile: this.#volatile?.counters ?? { confirmed: 0, lost: 0, failed: 0 },
      confirmations: this.#confirmations,
    };
  }

  /** Asks the database now what the first message would ask: whether it keeps what it commits, and whether the tables are there. */
  async ready(): Promise<void> {
    await this.#writing.ready();
  }

  /** The outbox inside a transaction that is open on `tx`: the handle itself, or another connection to the same database. */
  in<T extends Handle>(tx: T): OutboxWriter<T, Types> {
    let writer = this.#writers.get(tx);
    if (writer === undefined) {
      writer = this.#writer(tx, this.#writing.admit(tx));
      this.#writers.set(tx, writer);
    }
    return writer as unknown as OutboxWriter<T, Types>;
  }

  /** `transaction(db, fn)` on the outbox's own database. */
  transaction<T>(fn: (tx: TransactionOf<H>) => T): Answer<H, Awaited<T>> {
    return (transaction as (db: Database, work: (tx: never) => T) => unknown)(this.#db, fn) as Answer<H, Awaited<T>>;
  }

  /** What became of a message, or of all messages with a business key. */
  status(question: StatusQuestion): Answer<H, StatusAnswer> {
    const steps = (session: Session): Steps<StatusAnswer> => statusSteps(session.dialect, this.#options.channel, question);
    return this.#alone((session) => perform(session, steps(session)));
  }

  /**
   * The consumer's confirmation of a message has arrived: settles it. Safe to repeat, and at any time. In a transaction of its own, or in
   * the one open on `tx`.
   */
  confirm(serial: string): Answer<H, ConfirmOutcome>;
  confirm<T extends Handle>(serial: string, tx: T): Answer<T, ConfirmOutcome>;
  confirm(serial: string, tx?: Handle): unknown {
    const row = { channel: this.#options.channel, id: serial, now: this.#clock.now() };
    const counted = (outcome: ConfirmOutcome): ConfirmOutcome => {
      this.#confirmations[outcome]++;
      const warning = this.#strangers.heard(outcome, serial);
      if (warning !== undefined) process.emitWarning(warning, 'TallystickOutbox');
      if (outcome === 'confirmed') this.#settings.telemetry?.count('confirmed', 1);
      return outcome;
    };
    const answer =
      tx === undefined
        ? this.#alone((session) => {
            if (session.kind === 'sync' && session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
            const steps = confirmSteps(session.dialect, row);
            return perform(session, canWriteTogether(session.dialect) ? steps : atomically(session.dialect, steps));
          })
        : performInside(sessionOf(tx), () => undivided(sessionOf(tx).dialect, confirmSteps(sessionOf(tx).dialect, row)));
    return answer instanceof Promise ? answer.then(counted) : counted(answer as ConfirmOutcome);
  }

  /** The receiving end of a reply topic: `subscriber.subscribe('replies', outbox.confirmations())`. */
  confirmations(): (delivery: Delivery) => Promise<Receipt> {
    return receiveConfirmations(this.#confirmationPorts());
  }

  /** The receiving end of an http(s) `replyTo`, for node:http. Throws TypeError unless `options` choose a proof, or `open: true`. */
  confirmationHandler(options: ConfirmationHandlerOptions): (request: IncomingMessage, response: ServerResponse) => void {
    return handleConfirmations(this.#confirmationPorts(), options);
  }

  /** Resolves when no volatile message is in memory any more: all confirmed, or told lost. */
  async flush(): Promise<void> {
    await this.#volatile?.flush();
  }

  /** Takes no more volatile messages and waits for those in memory, at most `closeAfterMs`; the rest is told lost. */
  async close(): Promise<void> {
    await this.#volatile?.close(this.#options.closeAfterMs);
  }

  #writer(tx: Handle, session: Session): OutboxWriter<Handle> {
    const afterCommit = new AfterCommit(session, this.#ports, () => this.#wake());
    const addAll = (messages: readonly NewMessage[]): readonly string[] | Promise<readonly string[]> =>
      this.#addAll(tx, session, afterCommit, messages);
    const first = (ids: readonly string[]): string => ids[0]!;
    const add =
      session.kind === 'sync'
        ? (message: NewMessage) => first(addAll([message]) as readonly string[])
        : // On an asynchronous handle even a message that is refused is a rejected promise.
          async (message: NewMessage) => first(await addAll([message]));
    const addMany = session.kind === 'sync' ? addAll : async (messages: readonly NewMessage[]) => addAll(messages);
    return { add, addMany } as unknown as OutboxWriter<Handle>;
  }

  #addAll(
    tx: Handle,
    session: Session,
    afterCommit: AfterCommit,
    messages: readonly NewMessage[],
  ): readonly string[] | Promise<readonly string[]> {
    const { manyMax } = this.#options;
    if (messages.length > manyMax)
      throw fail('BAD_MESSAGE', `${messages.length} messages at once, at most ${manyMax} (manyMax) may be`);
    const rows = messages.map((message) => this.#checked(message));
    const ids = rows.map(({ message }) => message.id);
    const stored = rows.filter(({ mode }) => mode !== 'volatile');
    // Bytes are the caller's again when `add` has returned, and these wait in memory after that.
    const fleeting = rows
      .filter(({ mode }) => mode === 'volatile')
      .map(({ message }) => Object.assign(message, { body: Uint8Array.from(message.body) }));
    const volatile = fleeting.length === 0 ? undefined : this.#volatileQueue();
    const { telemetry } = this.#settings;
    const traces = telemetry === undefined ? [] : rows.map(({ message }) => traced(telemetry, message));
    const written = (): readonly string[] => {
      this.counters.added += ids.length;
      alone('telemetry', () => {
        telemetry?.count('added', ids.length);
        for (const trace of traces) trace.end();
      });
      if (stored.some(({ mode }) => mode === 'immediate')) afterCommit.added();
      return ids;
    };
    const refused = (error: unknown): never => {
      for (const trace of traces) trace.end(error);
      throw error;
    };
    try {
      const adding = performInside(session, () => this.#write(tx, session, stored, fleeting, volatile));
      return adding instanceof Promise ? adding.then(written, refused) : written();
    } catch (error) {
      return refused(error);
    }
  }

  /** A method: a generator function made for each message would cost a hidden class for each. */
  *#write(
    tx: Handle,
    session: Session,
    stored: readonly CheckedMessage[],
    fleeting: readonly OutgoingMessage[],
    volatile: VolatileQueue | undefined,
  ): Steps<void> {
    let whole = false;
    // Before anything is written, because it may refuse.
    if (volatile !== undefined) whenCommitted(session, () => (whole ? fleeting : []), volatile);
    if (stored.length > 0) yield* this.#writing.write(tx, session, stored);
    whole = true;
  }

  #checked(given: NewMessage): CheckedMessage {
    const type = typeOf(given.type, this.#settings.messages);
    return checked(given, type, given.id ?? this.#ids.next(), this.#options);
  }

  #volatileQueue(): VolatileQueue {
    if (this.#volatile === undefined) throw fail('NO_TRANSPORT');
    if (this.#volatile.closed) throw fail('OUTBOX_CLOSED');
    return this.#volatile;
  }

  /** The commit has happened: what is wrong with waking must not look like its failure. The sweep finds the messages. */
  #wake(): void {
    alone('wake', () => this.#settings.wake?.());
  }

  #lost(lost: Lost): void {
    const { onLost, onAlarm, log = logToStderr, telemetry } = this.#settings;
    const tell = [
      () => log(lostLine(lost, this.#clock.now())),
      () => telemetry?.count('lost', 1),
      () => onLost?.(lost.message, lost.outcome, lost.tries),
      () => onAlarm?.(lostAlarm(lost)),
    ];
    for (const one of tell) {
      try {
        one();
      } catch {
        // A listener's failure must not hide the message from the others.
      }
    }
  }

  #confirmationPorts(): ConfirmationPorts {
    return {
      counters: this.#confirmations,
      confirm: async (serial) => {
        const outcome = (await this.confirm(serial)) as ConfirmOutcome;
        this.#refusal = '';
        return outcome;
      },
      refused: (error) => {
        const said = error instanceof Error ? error.message : String(error);
        if (said === this.#refusal) return;
        this.#refusal = said;
        process.emitWarning(`a consumer's confirmation cannot be written down: ${said}`, 'TallystickOutbox');
      },
    };
  }

  /** Work outside of the application's transactions: in place on a synchronous handle, else on a connection of its own. */
  #alone<T>(work: (session: Session) => T | Promise<T>): Answer<H, T> {
    const session = sessionOf(this.#db);
    if (session.kind === 'sync') return work(session) as Answer<H, T>;
    this.#connections ??= connectionsOf(this.#db);
    return this.#connections.use(work) as Answer<H, T>;
  }
}

export interface OutboxWriter<H extends Handle, Types extends MessageTypes = MessageTypes> {
  /**
   * Writes the message into the transaction; returns its id, whose type says which guarantee holds. Throws NOT_IN_TRANSACTION, BAD_MESSAGE,
   * UNKNOWN_TYPE, DUPLICATE_ID, WRONG_DATABASE, NOT_MIGRATED, for volatile messages COMMIT_UNSEEN and NO_TRANSPORT, and what the
   * database throws; then nothing was written.
   */
  add<const Message extends NewMessageOf<Types>>(message: Message): Answer<H, MessageId<GuaranteeOf<Types, Message>>>;
  /** The same for several messages, all or none, on PostgreSQL in one round trip; ids in the order of the messages. */
  addMany(messages: readonly NewMessageOf<Types>[]): Answer<H, readonly MessageId<Guarantee>[]>;
}

/** What must not look like a failure of what has been done already; its own is a process warning. */
function alone(name: string, call: () => void): void {
  try {
    call();
  } catch (error) {
    process.emitWarning(
      `${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      'TallystickOutbox',
    );
  }
}

function traced(telemetry: Telemetry, message: OutgoingMessage): AddTrace {
  const trace = telemetry.adding(message);
  (message as { headers: ReadonlyMap<string, string> }).headers = trace.headers;
  return trace;
}

/** Hands messages over when their transaction is committed. Throws COMMIT_UNSEEN. */
function whenCommitted(session: Session, messages: () => readonly OutgoingMessage[], volatile: VolatileQueue): void {
  const seen = whenEnded(session, (outcome) => {
    if (outcome === 'commit') volatile.push(messages());
    else if (outcome === 'unknown') volatile.lose(messages(), 'whether its transaction was committed is unknown');
  });
  if (!seen) throw fail('COMMIT_UNSEEN');
}

function refuseVolatileTypes(types: MessageTypes | undefined, transport: Transport | undefined): void {
  if (transport !== undefined) return;
  const names = Object.entries(types ?? {}).flatMap(([name, { mode }]) => (mode === 'volatile' ? [name] : []));
  if (names.length > 0) throw fail('NO_TRANSPORT', names.join(', '));
}

function logToStderr(line: string): void {
  process.stderr.write(`${line}\n`);
}
