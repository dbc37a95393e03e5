/** A producer for tests: the real one's outside, over {@link MockCalls} instead of brokers. */
import type { LocalCode, SendError } from '../errors.ts';
import type { GivenProducerOptions } from '../options.ts';
import { Producer, type ProducerSettings } from '../shell/producer-shell.ts';
import { MockCalls, type MockSent, type MockSettings } from './mock-calls-shell.ts';

type Plain = Uint8Array | string;

export type MockProducerSettings<K = Plain, V = Plain> = ProducerSettings<K, V> & MockSettings;

/** Takes the options of a producer; interceptors, serializers and partitioner do what they do there. */
export class MockProducer<K = Plain, V = Plain> extends Producer<K, V> {
  readonly #calls: MockCalls;

  constructor({ autoComplete, queues, ...options }: MockProducerSettings<K, V> = {}) {
    const calls = new MockCalls({ autoComplete, queues }, options as GivenProducerOptions);
    super(calls);
    this.#calls = calls;
  }

  get closed(): boolean {
    return this.#calls.closed;
  }

  /** Sends without a verdict. */
  get pending(): number {
    return this.#calls.pending;
  }

  /** Every record that would have gone out, in order, whatever became of it; those refused at once are not among them. */
  history(): readonly MockSent[] {
    return [...this.#calls.sent];
  }

  /** What interceptors, callbacks and the like threw. */
  reports(): MockCalls['reports'] {
    return [...this.#calls.reports];
  }

  /** The oldest send without a verdict succeeds; false when there is none. */
  completeNext(): boolean {
    return this.#calls.completeNext();
  }

  /** The oldest send without a verdict fails with this error, or the row of ERRORS of this name; false when there is none. */
  errorNext(error: SendError | LocalCode): boolean {
    return this.#calls.errorNext(error);
  }

  /** As if nothing had been sent yet; what has no verdict fails as CONNECTION_LOST. */
  clear(): void {
    this.#calls.clear();
  }
}
