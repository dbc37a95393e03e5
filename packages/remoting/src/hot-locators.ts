import { COMMANDS, RequestCode } from './commands.ts';
import type { Frame } from './frame.ts';
import { unescapeJson } from './json-text.ts';
import { Locator, slotsOf } from './locator.ts';

/**
 * Locators of the commands that come once per message or per poll, with getters named like the fields. Each `locate` must be true
 * before a getter is read; all are valid as long as the frame.
 */

const SEND = slotsOf(COMMANDS.SEND_MESSAGE.request);

/** Requests 10, 310, 320, 324 and 325. */
export class SendLocator {
  readonly #long = new Locator(COMMANDS.SEND_MESSAGE.request);
  readonly #short = new Locator(COMMANDS.SEND_MESSAGE_V2.request);
  #now = this.#short;
  #scratch: Buffer = Buffer.allocUnsafeSlow(4096);
  /** Place of the properties as UTF-8; an empty range when there are none. In a JSON header they are unescaped to a buffer of ours. */
  propertiesBytes: Buffer = this.#scratch;
  propertiesStart = 0;
  propertiesEnd = 0;

  locate(frame: Frame): boolean {
    const code = frame.code;
    const now = code === RequestCode.SEND_MESSAGE || code === RequestCode.SEND_REPLY_MESSAGE ? this.#long : this.#short;
    this.#now = now;
    if (!now.locate(frame)) return false;
    this.#placeProperties(now);
    return this.propertiesEnd >= 0;
  }

  fault(): string {
    return this.propertiesEnd < 0 ? 'field properties has a broken escape' : this.#now.fault();
  }

  producerGroup(): string {
    return this.#now.name(SEND.producerGroup!);
  }

  topic(): string {
    return this.#now.name(SEND.topic!);
  }

  defaultTopic(): string {
    return this.#now.name(SEND.defaultTopic!);
  }

  defaultTopicQueueNums(): number {
    return this.#now.numbers[SEND.defaultTopicQueueNums!]!;
  }

  queueId(): number {
    return this.#now.numbers[SEND.queueId!]!;
  }

  sysFlag(): number {
    return this.#now.numbers[SEND.sysFlag!]!;
  }

  bornTimestamp(): number {
    return this.#now.numbers[SEND.bornTimestamp!]!;
  }

  flag(): number {
    return this.#now.numbers[SEND.flag!]!;
  }

  reconsumeTimes(): number {
    return this.#now.number(SEND.reconsumeTimes!, 0);
  }

  /** -1 when the client sent none. */
  maxReconsumeTimes(): number {
    return this.#now.number(SEND.maxReconsumeTimes!, -1);
  }

  unitMode(): boolean {
    return this.#now.number(SEND.unitMode!, 0) === 1;
  }

  batch(): boolean {
    return this.#now.number(SEND.batch!, 0) === 1;
  }

  #placeProperties(now: Locator): void {
    const slot = SEND.properties!;
    if (!now.has(slot)) {
      this.propertiesStart = this.propertiesEnd = 0;
      return;
    }
    const start = now.starts[slot]!;
    const end = now.ends[slot]!;
    if (!now.isEscaped(slot)) {
      this.propertiesBytes = now.bytes;
      this.propertiesStart = start;
      this.propertiesEnd = end;
      return;
    }
    if (this.#scratch.length < end - start) this.#scratch = Buffer.allocUnsafeSlow((end - start) * 2);
    this.propertiesBytes = this.#scratch;
    this.propertiesStart = 0;
    this.propertiesEnd = unescapeJson(now.bytes, start, end, this.#scratch, 0);
  }
}

const SEND_ANSWER = slotsOf(COMMANDS.SEND_MESSAGE.answer);

/** The answer to a send with code 0, 10, 11 or 12. */
export class SendAnswerLocator {
  readonly #now = new Locator(COMMANDS.SEND_MESSAGE.answer);

  locate(frame: Frame): boolean {
    return this.#now.locate(frame);
  }

  fault(): string {
    return this.#now.fault();
  }

  /** The offset message id (of a batch: joined by commas); makes a string. */
  msgId(): string {
    return this.#now.ascii(SEND_ANSWER.msgId!);
  }

  queueId(): number {
    return this.#now.numbers[SEND_ANSWER.queueId!]!;
  }

  queueOffset(): number {
    return this.#now.numbers[SEND_ANSWER.queueOffset!]!;
  }

  /** '' when absent; makes a string. */
  transactionId(): string {
    return this.#now.text(SEND_ANSWER.transactionId!);
  }

  /** -1 when the broker does not say (RocketMQ's does not). */
  storeTimestamp(): number {
    return this.#now.number(SEND_ANSWER.storeTimestamp!, -1);
  }
}

const PULL = slotsOf(COMMANDS.PULL_MESSAGE.request);

/** Requests 11 and 361. */
export class PullLocator {
  readonly #now = new Locator(COMMANDS.PULL_MESSAGE.request);

  locate(frame: Frame): boolean {
    return this.#now.locate(frame);
  }

  fault(): string {
    return this.#now.fault();
  }

  consumerGroup(): string {
    return this.#now.name(PULL.consumerGroup!);
  }

  topic(): string {
    return this.#now.name(PULL.topic!);
  }

  queueId(): number {
    return this.#now.numbers[PULL.queueId!]!;
  }

  queueOffset(): number {
    return this.#now.numbers[PULL.queueOffset!]!;
  }

  maxMsgNums(): number {
    return this.#now.numbers[PULL.maxMsgNums!]!;
  }

  sysFlag(): number {
    return this.#now.numbers[PULL.sysFlag!]!;
  }

  commitOffset(): number {
    return this.#now.numbers[PULL.commitOffset!]!;
  }

  suspendTimeoutMillis(): number {
    return this.#now.numbers[PULL.suspendTimeoutMillis!]!;
  }

  subVersion(): number {
    return this.#now.numbers[PULL.subVersion!]!;
  }

  /** '' when absent. */
  subscription(): string {
    return this.#now.name(PULL.subscription!);
  }

  /** 'TAG' when absent. */
  expressionType(): string {
    return this.#now.has(PULL.expressionType!) ? this.#now.name(PULL.expressionType!) : 'TAG';
  }

  /** 0 when absent: no limit asked for. */
  maxMsgBytes(): number {
    return this.#now.number(PULL.maxMsgBytes!, 0);
  }
}

const PULL_ANSWER = slotsOf(COMMANDS.PULL_MESSAGE.answer);

/** The answer to a pull with code 0, 19, 20 or 21. */
export class PullAnswerLocator {
  readonly #now = new Locator(COMMANDS.PULL_MESSAGE.answer);

  locate(frame: Frame): boolean {
    return this.#now.locate(frame);
  }

  fault(): string {
    return this.#now.fault();
  }

  suggestWhichBrokerId(): number {
    return this.#now.numbers[PULL_ANSWER.suggestWhichBrokerId!]!;
  }

  nextBeginOffset(): number {
    return this.#now.numbers[PULL_ANSWER.nextBeginOffset!]!;
  }

  minOffset(): number {
    return this.#now.numbers[PULL_ANSWER.minOffset!]!;
  }

  maxOffset(): number {
    return this.#now.numbers[PULL_ANSWER.maxOffset!]!;
  }
}

const END = slotsOf(COMMANDS.END_TRANSACTION.request);

/** Request 37, the second confirmation. */
export class EndTransactionLocator {
  readonly #now = new Locator(COMMANDS.END_TRANSACTION.request);
  /** Place of the unique key in the frame, after `placeKey`. */
  keyStart = 0;
  keyEnd = 0;

  locate(frame: Frame): boolean {
    return this.#now.locate(frame);
  }

  fault(): string {
    return this.#now.fault();
  }

  producerGroup(): string {
    return this.#now.name(END.producerGroup!);
  }

  tranStateTableOffset(): number {
    return this.#now.numbers[END.tranStateTableOffset!]!;
  }

  commitLogOffset(): number {
    return this.#now.numbers[END.commitLogOffset!]!;
  }

  /** 0 unknown, 8 commit, 12 roll back; perhaps something else. */
  commitOrRollback(): number {
    return this.#now.numbers[END.commitOrRollback!]!;
  }

  fromTransactionCheck(): boolean {
    return this.#now.number(END.fromTransactionCheck!, 0) === 1;
  }

  /** Places the key: the transaction id, else the message id. False when neither is there as it stands. */
  placeKey(): boolean {
    const now = this.#now;
    const slot = now.has(END.transactionId!) ? END.transactionId! : END.msgId!;
    if (!now.has(slot) || now.isEscaped(slot)) return false;
    this.keyStart = now.starts[slot]!;
    this.keyEnd = now.ends[slot]!;
    return true;
  }

  /** '' when absent; makes a string. */
  msgId(): string {
    return this.#now.text(END.msgId!);
  }

  /** '' when absent; makes a string. */
  transactionId(): string {
    return this.#now.text(END.transactionId!);
  }
}

const UPDATE = slotsOf(COMMANDS.UPDATE_CONSUMER_OFFSET.request);

/** Request 15. */
export class UpdateOffsetLocator {
  readonly #now = new Locator(COMMANDS.UPDATE_CONSUMER_OFFSET.request);

  locate(frame: Frame): boolean {
    return this.#now.locate(frame);
  }

  fault(): string {
    return this.#now.fault();
  }

  consumerGroup(): string {
    return this.#now.name(UPDATE.consumerGroup!);
  }

  topic(): string {
    return this.#now.name(UPDATE.topic!);
  }

  queueId(): number {
    return this.#now.numbers[UPDATE.queueId!]!;
  }

  commitOffset(): number {
    return this.#now.numbers[UPDATE.commitOffset!]!;
  }
}
