import type { SendError } from '../errors.ts';
import type { SendReceipt } from '../producer/receipt.ts';

/**
 * The outcome of a send, now or later. It makes its promise when somebody asks for one: until then it costs a fraction of a promise, and
 * a failure that nobody asked about is no unhandled rejection. `await` works on it.
 */
export class SendFuture implements PromiseLike<SendReceipt> {
  /** The failure, once there is one. */
  error: SendError | undefined;
  /** The receipt, once there is one. */
  receipt: SendReceipt | undefined;
  #promise: Promise<SendReceipt> | undefined;
  #resolve: ((receipt: SendReceipt) => void) | undefined;
  #reject: ((error: SendError) => void) | undefined;

  get isDone(): boolean {
    return this.error !== undefined || this.receipt !== undefined;
  }

  /** The same promise at each call. */
  promise(): Promise<SendReceipt> {
    if (this.#promise !== undefined) return this.#promise;
    if (this.receipt !== undefined) this.#promise = Promise.resolve(this.receipt);
    else if (this.error !== undefined) this.#promise = Promise.reject(this.error);
    else {
      this.#promise = new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
      });
    }
    return this.#promise;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- that it can be awaited is its purpose
  then<R = SendReceipt, E = never>(
    onReceipt?: ((receipt: SendReceipt) => R | PromiseLike<R>) | null,
    onError?: ((error: SendError) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.promise().then(onReceipt, onError);
  }

  /** For the producer, once. */
  settle(error: SendError | undefined, receipt: SendReceipt): void {
    if (error === undefined) {
      this.receipt = receipt;
      this.#resolve?.(receipt);
    } else {
      this.error = error;
      this.#reject?.(error);
    }
  }
}
