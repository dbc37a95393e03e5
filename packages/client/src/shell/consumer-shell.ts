/** A push consumer with promises. */
import type { ClientCore, ConsumerCoreOptions } from '../client-core.ts';
import type { PushConsumerCore } from '../consumer/push-consumer-core.ts';
import type { ReceivedMessage } from '../message/received-message.ts';

export type ConsumerSettings = Omit<ConsumerCoreOptions, 'handler'> & {
  /** Returning, or resolving, acknowledges the message; a throw or rejection has it delivered again later. */
  readonly handler: (message: ReceivedMessage) => void | Promise<void>;
};

export class Consumer {
  readonly core: PushConsumerCore;
  #closed: Promise<void> | undefined;

  constructor(client: ClientCore, { handler, ...options }: ConsumerSettings) {
    this.core = client.consumer({
      ...options,
      handler: (message, settle) => {
        // A synchronous handler costs no promise; what it throws is caught by the core.
        const working = handler(message);
        if (working === undefined) settle();
        else
          working.then(
            () => settle(),
            (thrown) => settle(thrown ?? new Error('the handler rejected with nothing')),
          );
      },
    });
  }

  /** Resolves when the group is joined and its queues shared out. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => this.core.start((error) => (error === undefined ? resolve() : reject(error))));
  }

  /** Waits for the handlers at work, commits offsets and leaves the group. */
  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.core.close(resolve));
    return this.#closed;
  }
}
