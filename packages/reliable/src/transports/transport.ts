/**
 * The seam to a broker, seen from the relay: publish a batch, learn one outcome per message. A transport is handed in; a producer
 * of `@tallystick/client` is one by structure, and so is any object with this one method around RabbitMQ, Kafka or NATS.
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
   * Publishes messages and answers one outcome each, in the same order. Two messages of one key are never in the same batch. A
   * rejection of the promise counts for the whole batch: as the error's `outcome` field says, else as `unknown`.
   */
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]>;
}
