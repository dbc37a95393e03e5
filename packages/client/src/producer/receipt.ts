import { idText } from './unique-ids.ts';

/** What a broker said about messages of one batch; shared by their receipts. */
export interface BatchAnswer {
  readonly topic: string;
  readonly brokerName: string;
  readonly address: string;
  readonly queueId: number;
  /** When the broker stored them, in ms; -1 when it does not say. */
  readonly storeTimestamp: number;
  /** Offset of the first message, and the offset message ids, comma-joined; '' when each receipt has its own position. */
  readonly baseOffset: number;
  readonly offsetIds: string;
  /** Digits before the position in an offset message id: the broker's address in hex. */
  readonly host: string;
}

/**
 * Proof that the broker has taken one message at its promised durability. Ids are joined to text when asked for: most callers
 * never look.
 */
export class SendReceipt {
  readonly #answer: BatchAnswer;
  readonly #offset: number;
  readonly #positionHigh: number;
  readonly #positionLow: number;
  readonly #idPrefix: string;
  readonly #idLow: number;

  /** The position, in two halves, counts only when the answer has no `offsetIds`. */
  constructor(answer: BatchAnswer, offset: number, positionHigh: number, positionLow: number, idPrefix: string, idLow: number) {
    this.#answer = answer;
    this.#offset = offset;
    this.#positionHigh = positionHigh;
    this.#positionLow = positionLow;
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

  /**
   * The message's place in its queue (for delayed and half messages: in the queue they wait in); -1 when the broker has it but does
   * not know where any more (a repetition that came too late).
   */
  get offset(): number {
    return this.#offset;
  }

  /** The sender's id: UNIQ_KEY, 32 upper-case hex digits. */
  get messageId(): string {
    return idText(this.#idPrefix, this.#idLow);
  }

  /** The id in two parts, for who writes it as bytes: see `idText`. */
  get idPrefix(): string {
    return this.#idPrefix;
  }

  get idLow(): number {
    return this.#idLow;
  }

  /** The broker's id: its address and the message's position in its log; '' when there is no `offset`. */
  get offsetMessageId(): string {
    if (this.#offset < 0) return '';
    const { offsetIds, baseOffset, host } = this.#answer;
    if (offsetIds === '') return host + hex8(this.#positionHigh) + hex8(this.#positionLow);
    return offsetIds.includes(',') ? (offsetIds.split(',')[this.#offset - baseOffset] ?? '') : offsetIds;
  }

  /** The message's byte address in the broker's log; -1 when the broker's id does not hold one. */
  get position(): number {
    if (this.#offset < 0) return -1;
    if (this.#answer.offsetIds === '') return (this.#positionHigh >>> 0) * 4294967296 + (this.#positionLow >>> 0);
    const id = this.offsetMessageId;
    return /^(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{56})$/.test(id) ? Number.parseInt(id.slice(-16), 16) : -1;
  }

  /** When the broker stored it, in ms since 1970 by its clock; -1 when it does not say (Apache RocketMQ's does not). */
  get storeTimestamp(): number {
    return this.#answer.storeTimestamp;
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

function hex8(value: number): string {
  return (value >>> 0).toString(16).toUpperCase().padStart(8, '0');
}
