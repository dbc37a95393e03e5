/** What a consumer asks of brokers, without their wire. `broker-calls.ts` does it over connections; tests do it with tables. */
import type { QueueKey } from '../route/queue-key.ts';

export type CallDone<T> = (error: Error | undefined, value: T) => void;

/**
 * `found`: messages came. `none`: nothing new. `unmatched`: only messages that the subscription does not want. `moved`: the
 * offset asked for does not exist (any more), the queue goes on at `nextOffset`. `unregistered`: the broker does not know the
 * group or its subscription.
 */
export type PullStatus = 'found' | 'none' | 'unmatched' | 'moved' | 'unregistered';

export interface PullAnswer {
  readonly status: PullStatus;
  readonly nextOffset: number;
  readonly minOffset: number;
  readonly maxOffset: number;
  /** Stored records, back to back; owned by the receiver. */
  readonly body: Buffer;
  /** The broker that answered, `host:port`. */
  readonly address: string;
}

export interface GroupCalls<M> {
  /** Ids of the group's members, as one broker of the topic knows them. */
  members(topic: string, done: CallDone<readonly string[]>): void;
  /** The group's stored offset of a queue; undefined when it has none. */
  storedOffset(key: QueueKey, done: CallDone<number | undefined>): void;
  minOffset(key: QueueKey, done: CallDone<number>): void;
  maxOffset(key: QueueKey, done: CallDone<number>): void;
  /** `answered`: wait until the broker has it durably; else one-way. */
  commit(key: QueueKey, offset: number, answered: boolean, done: (error: unknown) => void): void;
  /** The queues of `keys` whose lock this member now holds. */
  lock(keys: readonly QueueKey[], done: CallDone<readonly QueueKey[]>): void;
  unlock(keys: readonly QueueKey[]): void;
  /** Waits up to the long-poll time when there is nothing. */
  pull(key: QueueKey, offset: number, commitOffset: number, done: CallDone<PullAnswer>): void;
  /**
   * Hands a failed message back for a later delivery, or with `bury` to the dead-letter topic: asks the broker, and if that fails sends
   * a copy to the retry topic. `done(true)`: the broker has it.
   */
  sendBack(message: M, bury: boolean, done: (handedOn: boolean) => void): void;
}
