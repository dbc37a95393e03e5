/**
 * The outbox (local message table): a message is a row of the same transaction as the business change, so both are committed or
 * neither. This file records; the relay triggers, sweeps and settles. Promises: a message added and committed is pushed until a
 * broker confirms it or a person decides; one whose transaction is rolled back never leaves; when `add` throws, nothing of the
 * message was written. Leaves to others: the transaction itself, and telling duplicates apart (the receiver's inbox).
 */
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
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { assertDurable } from '../sql/durability.ts';
import type { Answer, Handle } from '../sql/handles.ts';
import { performInside, sessionOf, undivided, type Session } from '../sql/session.ts';
import { hole, prepared, type Steps } from '../sql/statement.ts';
import { transaction } from '../sql/transaction.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from '../transports/transport.ts';
import { AfterCommit } from './after-commit.ts';
import { headersText, outgoing, type DeliveryMode, type NewMessage } from './message.ts';
import { MessageIds, shardOf } from './message-id.ts';

export interface OutboxSettings extends GivenOptions<typeof OUTBOX_OPTIONS> {
  /** Called soon after a commit with messages in it; hand in `() => relay.wake()`. Without it the sweep finds them. */
  readonly wake?: (() => void) | undefined;
  /** For `volatile` messages only. */
  readonly transport?: Transport | undefined;
  /** A volatile message that was not confirmed: it will not be tried again. */
  readonly onLost?: ((message: OutgoingMessage, outcome: PublishOutcome) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly turn?: Turn | undefined;
  readonly timers?: Timers | undefined;
}

/** Makes the outbox of a database. Throws NOT_DURABLE unless the handle is made durable or `durability` is `trust`. */
export function createOutbox<H extends Handle>(db: H, settings: OutboxSettings = {}): Outbox<H> {
  return new Outbox(db, settings);
}

export class Outbox<H extends Handle> {
  readonly #db: H;
  readonly #settings: OutboxSettings;
  readonly #options: Options<typeof OUTBOX_OPTIONS>;
  readonly #clock: Clock;
  readonly #ids: MessageIds;
  readonly #ports: { readonly turn: Turn; readonly timers: Timers };
  readonly #writers = new WeakMap<object, OutboxWriter<Handle>>();

  constructor(db: H, settings: OutboxSettings) {
    const { wake: _wake, transport: _transport, onLost: _onLost, clock, random, turn, timers, ...given } = settings;
    this.#db = db;
    this.#settings = settings;
    this.#options = resolveOptions('outbox', OUTBOX_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    this.#ids = new MessageIds(this.#clock, random ?? systemRandom());
    this.#ports = { turn: turn ?? systemTurn(), timers: timers ?? systemTimers({ unref: true }) };
    if (this.#options.durability === 'require') assertDurable(db);
  }

  /** The outbox inside a transaction that is open on `tx`: the handle itself, or another connection to the same database. */
  in<T extends Handle>(tx: T): OutboxWriter<T> {
    let writer = this.#writers.get(tx);
    if (writer === undefined) {
      if (this.#options.durability === 'require') assertDurable(tx);
      const session = sessionOf(tx);
      const afterCommit = new AfterCommit(session, this.#ports, () => this.#settings.wake?.());
      const add = (message: NewMessage): string | Promise<string> => this.#add(session, afterCommit, message);
      // On an asynchronous handle even a message that is refused is a rejected promise.
      writer = { add: session.kind === 'sync' ? add : async (message) => add(message) };
      this.#writers.set(tx, writer);
    }
    return writer as OutboxWriter<T>;
  }

  /** `transaction(db, fn)` on the outbox's own handle. */
  transaction<T>(fn: (tx: H) => T): Answer<H, Awaited<T>> {
    return transaction(this.#db, fn);
  }

  #add(session: Session, afterCommit: AfterCommit, given: NewMessage): string | Promise<string> {
    const id = given.id ?? this.#ids.next();
    const message = outgoing(given, id, this.#options.bodyBytesMax);
    const mode = given.mode ?? this.#options.mode;
    if (mode === 'volatile') return this.#pushAfterCommit(session, message);
    const steps = (): Steps<string> => this.#write(session.dialect, message, mode, given.notBefore ?? 0);
    const added = performInside(session, steps);
    if (mode !== 'immediate') return added;
    if (typeof added === 'string') afterCommit.added();
    else return added.then((value) => (afterCommit.added(), value));
    return added;
  }

  *#write(dialect: Dialect, message: OutgoingMessage, mode: Exclude<DeliveryMode, 'volatile'>, notBefore: number): Steps<string> {
    const { id, topic, headers, body } = message;
    const { channel } = this.#options;
    const now = this.#clock.now();
    const delayed = notBefore > now;
    const head = {
      id,
      channel,
      shard: shardOf(message.key, id),
      key: message.key ?? null,
      topic,
      tag: message.tag ?? null,
      mode,
      state: delayed ? 'delayed' : 'waiting',
      due: delayed ? notBefore : 0,
      now,
      bytes: body.length,
    };
    try {
      yield* undivided(dialect, writeBoth(dialect, head, { id, channel, headers: headersText(headers), body }));
    } catch (error) {
      throw dialect.isTaken(error) ? fail('DUPLICATE_ID', id, error) : error;
    }
    return id;
  }

  #pushAfterCommit(session: Session, message: OutgoingMessage): string {
    const { transport, onLost } = this.#settings;
    if (session.wrapped === undefined || transport === undefined) throw fail('VOLATILE_NEEDS_WRAPPER');
    session.wrapped.afterCommit.push(() => {
      void pushOnce(transport, message, onLost);
    });
    return message.id;
  }
}

export interface OutboxWriter<H> {
  /**
   * Adds a message to the transaction and returns its id. Throws NOT_IN_TRANSACTION, BAD_MESSAGE, DUPLICATE_ID or the database's
   * own error; then nothing of the message has been written and the transaction is as it was.
   */
  add(message: NewMessage): Answer<H, string>;
}

type HeadValues = 'id' | 'channel' | 'shard' | 'key' | 'topic' | 'tag' | 'mode' | 'state' | 'due' | 'now' | 'bytes';

function* writeBoth(
  dialect: Dialect,
  head: Readonly<Record<HeadValues, string | number | null>>,
  body: Readonly<Record<'id' | 'channel' | 'headers' | 'body', string | Uint8Array | null>>,
): Steps<void> {
  yield statementsOf(dialect).head(head);
  yield statementsOf(dialect).body(body);
}

const statementsOf = perDialect(({ build }) => ({
  head: prepared<HeadValues>(
    build.insertInto('tallystick_outbox').values({
      id: hole('id'),
      channel: hole('channel'),
      shard: hole('shard'),
      message_key: hole('key'),
      topic: hole('topic'),
      tag: hole('tag'),
      mode: hole('mode'),
      state: hole('state'),
      attempts: 0,
      tries: 0,
      due_at: hole('due'),
      created_at: hole('now'),
      changed_at: hole('now'),
      body_bytes: hole('bytes'),
    }),
  ),
  body: prepared<'id' | 'channel' | 'headers' | 'body'>(
    build
      .insertInto('tallystick_outbox_body')
      .values({ id: hole('id'), channel: hole('channel'), headers: hole('headers'), body: hole('body') }),
  ),
}));

/** One push, no second: that is what volatile means. */
async function pushOnce(transport: Transport, message: OutgoingMessage, onLost: OutboxSettings['onLost']): Promise<void> {
  let outcome: PublishOutcome;
  try {
    outcome = (await transport.publish([message]))[0] ?? { outcome: 'unknown', reason: 'the transport gave no outcome' };
  } catch (error) {
    outcome = { outcome: 'unknown', reason: String(error) };
  }
  if (outcome.outcome !== 'confirmed') onLost?.(message, outcome);
}
