/**
 * The two seams to a broker: a {@link Transport} takes messages to it and tells what became of each, a {@link Subscriber} brings them to
 * a receiver and acknowledges what the receiver has done. Both are handed in; nothing here knows a driver. For each broker the two
 * sit in one file, so that what one writes on the wire the other reads.
 */

/** A message on its way out. The id is the sender's and stays the same over every retry: it is the receiver's inbox key. */
export interface OutgoingMessage {
  /** UUIDv7 as 32 upper-case hex digits. */
  readonly id: string;
  readonly topic: string;
  /** Messages with one key keep their order. */
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: ReadonlyMap<string, string> | undefined;
  readonly body: Uint8Array;
  /** What it says: the name its handler is found by. */
  readonly type?: string | undefined;
  /** RabbitMQ: where it is published; absent or empty is the default exchange, which knows each queue by its name. */
  readonly exchange?: string | undefined;
  /** RabbitMQ: what kind of exchange that should be; for people and for set-up code, no transport declares one. */
  readonly exchangeType?: string | undefined;
  /** RabbitMQ: absent is the topic. */
  readonly routingKey?: string | undefined;
  /** When it was added, ms since 1970 by the database's clock. */
  readonly createdAt?: number | undefined;
}

/**
 * What became of one message:
 * - `confirmed`: the broker holds it, as durably as it promises;
 * - `rejected`: the broker will not have it as it is (too large, not permitted, malformed);
 * - `unroutable`: there is nowhere to put it (no such topic, no queue bound);
 * - `unavailable`: it is certainly not stored, and that is the broker's fault (no connection, busy, full);
 * - `unknown`: it may be stored (time-out, connection lost after sending).
 */
export type PublishResult = 'confirmed' | 'rejected' | 'unroutable' | 'unavailable' | 'unknown';

export interface PublishOutcome {
  readonly outcome: PublishResult;
  /** For people: shown beside the row until it is settled. */
  readonly reason?: string | undefined;
}

export interface Transport {
  /**
   * Publishes messages and answers one outcome each, in the same order. Two messages of one key are never in the same batch, unless
   * `keepsOrder`. A rejection of the promise counts for the whole batch: as the error's `outcome` field says, else as `unknown`.
   */
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]>;
  /**
   * True promises that within a batch a message is stored only when every earlier message of its key was: after one that is not
   * `confirmed`, the later ones of its key come back as `unavailable`. Then a batch may hold many messages of one key.
   */
  readonly keepsOrder?: boolean | undefined;
}

/** A message on its way in. */
export interface Delivery {
  /** The sender's id. Empty for a message of a foreign sender that gave none. */
  readonly id: string;
  readonly topic: string;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly type?: string | undefined;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** It was delivered before, or that cannot be ruled out. */
  readonly redelivered: boolean;
  /** When it was added or sent, ms since 1970 by the sender's side. */
  readonly sentAt?: number | undefined;
}

/**
 * - `done`: the receiver has it safe (handled, or kept in its own table): the broker may forget it;
 * - `again`: the receiver could not even keep it: it shall come again later. A rejected promise means the same.
 */
export type Receipt = 'done' | 'again';

export interface SubscribeOptions {
  /** Most messages in hand at once. */
  readonly prefetch?: number | undefined;
}

export interface Subscriber {
  /**
   * Hands the messages of a queue (or topic) to `receive`, one of a key at a time and in order as far as the broker keeps it; acknowledges
   * each only after `receive` resolved with `done`. Resolves when the subscription stands.
   */
  subscribe(queue: string, receive: (delivery: Delivery) => Promise<Receipt>, options?: SubscribeOptions): Promise<Subscription>;
}

export interface Subscription {
  /** Takes no further message and waits for those in hand; what waits behind them goes back to the broker. */
  stop(): Promise<void>;
}
