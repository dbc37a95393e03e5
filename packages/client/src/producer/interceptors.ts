/**
 * The chain of interceptors around a send. Each may change the record before anything else happens and hears how the send ended,
 * before the caller does, in the order they were given. One that throws is reported and passed over: the next gets the last good
 * record. Exactly one end is told per send: `onSendError` when the record never got into a batch, `onAcknowledgement` with or without an
 * error when it did; who has no `onSendError` hears of it by `onAcknowledgement`.
 */
import type { SendError } from '../errors.ts';
import type { SendDone } from './producer-batch.ts';
import type { SendReceipt } from './receipt.ts';
import type { ProducerRecord } from './record.ts';

/**
 * Where a record went: its receipt, or, when the send failed, as much as was known; −1 for what was not. `queueId`: the one it named,
 * else the one that was chosen, by its key also when its body was too large (if the topic's route was known); a body too large is refused
 * before a partitioner is asked, and one without a key goes nowhere.
 */
export interface SendPlace {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
}

export interface ProducerInterceptor<K = unknown, V = unknown> {
  /** The record to send instead (or the same). Runs before every check; another topic or queue is honoured. */
  onSend?(record: ProducerRecord<K, V>): ProducerRecord<K, V>;
  /** `place` is the {@link SendReceipt} when there is no error. */
  onAcknowledgement?(place: SendPlace | SendReceipt, error: SendError | undefined): void;
  onSendError?(place: SendPlace, error: SendError): void;
  /** Called once, when the producer has closed. */
  close?(): void;
}

/** One send that interceptors follow. */
export class FollowedSend implements SendPlace {
  readonly topic: string;
  queueId: number;
  readonly offset = -1;
  /** True once it is in a batch. */
  isAppended = false;
  readonly done: SendDone;

  constructor(chain: Interceptors, record: ProducerRecord<unknown, unknown>, done: SendDone) {
    this.topic = record.topic;
    this.queueId = record.queueId ?? -1;
    this.done = (error, receipt) => {
      chain.ended(this, error, receipt);
      done(error, receipt);
    };
  }
}

export class Interceptors {
  readonly #chain: readonly ProducerInterceptor[];
  readonly #report: (sentence: string, thrown: unknown) => void;

  constructor(chain: readonly ProducerInterceptor[], report: (sentence: string, thrown: unknown) => void) {
    this.#chain = chain;
    this.#report = report;
  }

  onSend(record: ProducerRecord<unknown, unknown>): ProducerRecord<unknown, unknown> {
    for (const interceptor of this.#chain) {
      if (interceptor.onSend === undefined) continue;
      try {
        const changed: unknown = interceptor.onSend(record);
        if (typeof changed !== 'object' || changed === null) throw new TypeError(`it gave ${String(changed)}, not a record`);
        record = changed as ProducerRecord<unknown, unknown>;
      } catch (thrown) {
        this.#report("an interceptor's onSend threw and was passed over", thrown);
      }
    }
    return record;
  }

  ended(send: FollowedSend, error: SendError | undefined, receipt: SendReceipt): void {
    const neverAppended = error !== undefined && !send.isAppended;
    for (const interceptor of this.#chain) {
      try {
        if (neverAppended && interceptor.onSendError !== undefined) interceptor.onSendError(send, error);
        else interceptor.onAcknowledgement?.(error === undefined ? receipt : send, error);
      } catch (thrown) {
        this.#report("an interceptor's onAcknowledgement threw and was passed over", thrown);
      }
    }
  }

  close(): void {
    for (const interceptor of this.#chain) {
      try {
        interceptor.close?.();
      } catch (thrown) {
        this.#report('closing an interceptor failed', thrown);
      }
    }
  }
}
