import { idText } from './unique-ids.ts';

/** What a broker said about one batch; shared by its receipts. */
export interface BatchAnswer {
  readonly topic: string;
  readonly brokerName: string;
  readonly address: string;
  readonly queueId: number;
  readonly baseOffset: number;
  /** Offset message ids, comma-joined when the batch had several messages. */
  readonly offsetIds: string;
}

/**
 * Proof that the broker has taken one message at its promised durability. Ids are joined to text when asked for: most callers
 * never look.
 */
export class SendReceipt {
  readonly #answer: BatchAnswer;
  readonly #index: number;
  readonly #idPrefix: string;
  readonly #idLow: number;

  constructor(answer: BatchAnswer, index: number, idPrefix: string, idLow: number) {
    this.#answer = answer;
    this.#index = index;
    this.#idPrefix = idPrefix;
    this.#idLow = idLow;
  }

  get topic(): string {
    return this.#answer.topic;
  }

  get brokerName(): string {
    return this.#answer.brokerName;
  }

  get queueId(): number {
    return this.#answer.queueId;
  }

  /** The message's place in its queue (for delayed and half messages: in the queue they wait in). */
  get offset(): number {
    return this.#answer.baseOffset + this.#index;
  }

  /** The sender's id: UNIQ_KEY, 32 upper-case hex digits. */
  get messageId(): string {
    return idText(this.#idPrefix, this.#idLow);
  }

  /** The broker's id: its address and the message's position in its log. */
  get offsetMessageId(): string {
    const ids = this.#answer.offsetIds;
    return ids.includes(',') ? (ids.split(',')[this.#index] ?? '') : ids;
  }

  /** The broker that took it, `host:port`. */
  get address(): string {
    return this.#answer.address;
  }

  get status(): 'SEND_OK' {
    return 'SEND_OK';
  }

  toJSON(): Record<string, string | number> {
    const { topic, queueId, offset, messageId, offsetMessageId, status } = this;
    return { topic, queueId, offset, messageId, offsetMessageId, status };
  }
}
