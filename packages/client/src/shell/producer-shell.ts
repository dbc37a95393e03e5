/** A producer with promises. `sendWith` is the fast way; a promise per record costs more than everything else in a send. */
import { type SendError, fail } from '../errors.ts';
import type { GivenProducerOptions } from '../options.ts';
import type { ProducerState } from '../producer/inspect.ts';
import type { ProducerMetrics } from '../producer/metrics.ts';
import type { ProducerCore } from '../producer/producer-core.ts';
import type { SendDone } from '../producer/producer-batch.ts';
import type { SendReceipt } from '../producer/receipt.ts';
import type { ProducerRecord } from '../producer/record.ts';
import type { Serializer, SerializerName } from '../producer/serializers.ts';
import { SendFuture } from './send-future.ts';

/** One message of an outbox, as a relay hands it over. */
export interface OutgoingMessage {
  readonly id: string;
  readonly topic: string;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: ReadonlyMap<string, string> | undefined;
  readonly body: Uint8Array;
}

export interface PublishOutcome {
  readonly outcome: 'confirmed' | 'rejected' | 'unroutable' | 'unavailable' | 'unknown';
  readonly reason?: string | undefined;
}

/** How long `close` waits for the last verdicts when nothing is said. */
const CLOSE_TIMEOUT_MS = 30_000;

/** A key or value for the plain serializers. */
type Plain = Uint8Array | string;

/** A producer's options; the serializers say what `send` takes. */
export type ProducerSettings<K = Plain, V = Plain> = Omit<GivenProducerOptions, 'keySerializer' | 'valueSerializer'> & {
  readonly keySerializer?: SerializerName | Serializer<K> | undefined;
  readonly valueSerializer?: SerializerName | Serializer<V> | undefined;
};

/** What it stands on: a {@link ProducerCore}, or in tests a double of it. */
export type ProducerCalls = Pick<
  ProducerCore,
  'send' | 'trySend' | 'whenReady' | 'withdraw' | 'flush' | 'close' | 'metrics' | 'inspect'
>;

/** `K` and `V` are what the serializers take; text and bytes when none are set. */
export class Producer<K = Plain, V = Plain> {
  readonly core: ProducerCalls;

  constructor(core: ProducerCalls) {
    this.core = core;
  }

  /**
   * Resolves when the broker has the record; rejects with a SendError, whose `outcome` says what is known. `signal` takes the send back as
   * long as it waits for memory or a route; once the record is in a batch it has no effect.
   */
  send(record: ProducerRecord<K, V>, options?: { readonly signal?: AbortSignal | undefined }): Promise<SendReceipt> {
    if (options?.signal !== undefined) return this.#sendUnder(options.signal, record);
    return new Promise((resolve, reject) => {
      this.core.send(record, (error, receipt) => {
        if (error === undefined) resolve(receipt);
        else reject(error);
      });
    });
  }

  /** The fast way: `done` is called once, with an error or a receipt. */
  sendWith(record: ProducerRecord<K, V>, done: SendDone): void {
    this.core.send(record, done);
  }

  /** As `send`, for outcomes that are looked at later, or only some of them: a future makes its promise when asked for it. */
  append(record: ProducerRecord<K, V>): SendFuture {
    const future = new SendFuture();
    this.core.send(record, (error, receipt) => future.settle(error, receipt));
    return future;
  }

  /** As `sendWith`, but false, and nothing has happened, while sends wait for memory or a route; go on after `ready()`. */
  trySend(record: ProducerRecord<K, V>, done: SendDone): boolean {
    return this.core.trySend(record, done);
  }

  /** Resolves when no send waits for memory or a route any more. */
  ready(): Promise<void> {
    return new Promise((resolve) => this.core.whenReady(resolve));
  }

  /** Resolves when every record sent before has its verdict; failures are told to their own callers only. */
  flush(): Promise<void> {
    return new Promise((resolve) => this.core.flush(resolve));
  }

  /** Waits for verdicts up to `timeoutMs`, then fails the rest; with 0 at once, also after another close that still waits. */
  close({ timeoutMs = CLOSE_TIMEOUT_MS }: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    return new Promise((resolve) => this.core.close(timeoutMs, resolve));
  }

  /** Numbers for a dashboard. */
  metrics(): ProducerMetrics {
    return this.core.metrics();
  }

  /** What waits where, and why. */
  inspect(): ProducerState {
    return this.core.inspect();
  }

  /** The outbox relay's seam: one outcome per message, in order; never rejects. */
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    return new Promise((resolve) => {
      const outcomes: PublishOutcome[] = [];
      let left = batch.length;
      if (left === 0) resolve(outcomes);
      batch.forEach(({ body, ...message }, at) => {
        this.core.send(Object.assign(message, { value: body }), (error) => {
          outcomes[at] = error === undefined ? CONFIRMED : outcomeOf(error);
          if (--left === 0) resolve(outcomes);
        });
      });
    });
  }

  #sendUnder(signal: AbortSignal, record: ProducerRecord<K, V>): Promise<SendReceipt> {
    if (signal.aborted) return Promise.reject(fail('WITHDRAWN', 'its signal was aborted already', signal.reason));
    return new Promise((resolve, reject) => {
      const withdraw = (): void => void this.core.withdraw(waiting!, signal.reason);
      const waiting = this.core.send(record, (error, receipt) => {
        signal.removeEventListener('abort', withdraw);
        if (error === undefined) resolve(receipt);
        else reject(error);
      });
      if (waiting !== undefined) signal.addEventListener('abort', withdraw);
    });
  }
}

const CONFIRMED: PublishOutcome = { outcome: 'confirmed' };

function outcomeOf({ outcome, message }: SendError): PublishOutcome {
  return { outcome, reason: message };
}
