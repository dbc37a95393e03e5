import type { OutgoingMessage, PublishOutcome, PublishResult, Transport } from '../../src/index.ts';

/**
 * A broker in memory: keeps what it confirmed, in order, and answers by a rule that a test may change. It also counts what must
 * never happen: two messages of one key in one batch.
 */
export class MemoryTransport implements Transport {
  /** Every message that reached the broker and was kept, in order; repeats included. */
  readonly stored: OutgoingMessage[] = [];
  /** Ids in the order they were pushed, stored or not. */
  readonly pushed: string[] = [];
  readonly batchSizes: number[] = [];
  keysTwiceInABatch = 0;
  answer: (message: OutgoingMessage, push: number) => PublishOutcome | PublishResult = () => 'confirmed';
  /** Called before a batch is looked at; a promise holds it back. */
  before: (batch: readonly OutgoingMessage[]) => void | Promise<void> = () => undefined;

  async publish(batch: readonly OutgoingMessage[]): Promise<PublishOutcome[]> {
    const keys = batch.map(({ key }) => key).filter((key) => key !== undefined);
    if (new Set(keys).size < keys.length) this.keysTwiceInABatch++;
    this.batchSizes.push(batch.length);
    for (const { id } of batch) this.pushed.push(id);
    await this.before(batch);
    return batch.map((message) => this.#answered(message));
  }

  #answered(message: OutgoingMessage): PublishOutcome {
    const pushes = this.pushed.filter((id) => id === message.id).length;
    const answer = this.answer(message, pushes);
    const outcome = typeof answer === 'string' ? { outcome: answer } : answer;
    if (outcome.outcome === 'confirmed') this.stored.push(message);
    return outcome;
  }

  get storedTexts(): string[] {
    return this.stored.map(({ body }) => Buffer.from(body).toString());
  }
}

/** A promise and the hand that resolves it. */
export function gate<T = void>(): { readonly promise: Promise<T>; readonly open: (value: T) => void } {
  let open!: (value: T) => void;
  const promise = new Promise<T>((resolve) => (open = resolve));
  return { promise, open };
}
