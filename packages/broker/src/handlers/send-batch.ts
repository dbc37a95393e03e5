import {
  BatchCursor,
  emptySendAnswer,
  newMessageId,
  PropertyName,
  ResponseCode,
  SendAnswers,
  type Frame,
  type Peer,
  type ReplyRef,
  type SendLocator,
} from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import { encodeProperty } from '../properties-edit.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { numberingFault } from '../sequences/producer-sequences.ts';
import { isMarked } from '../sequences/sequence-mark.ts';
import { AppendMessage } from '../store/append-message.ts';
import type { AppendOutcome, AppendSink } from '../store/store-types.ts';
import { RETRY_PREFIX } from '../topics/system-topics.ts';
import type { Topic } from '../topics/topic.ts';
import type { Parts } from './parts.ts';
import { appendFailure, countFailure } from './reply.ts';
import type { SequencedSends } from './sequenced-sends.ts';

/**
 * Sends of many messages in one body (320). All of them lie in one write group in one queue, one after the other, or none does;
 * each keeps its own properties and nothing else. One answer names them all.
 */
export class SendBatch {
  readonly #parts: Parts;
  readonly #sequenced: SequencedSends;
  readonly #answers: SendAnswers;
  readonly #cursor = new BatchCursor();
  readonly #scan = new PropertyScan();
  readonly #m = new AppendMessage();

  constructor(parts: Parts, sequenced: SequencedSends) {
    this.#parts = parts;
    this.#sequenced = sequenced;
    this.#answers = new SendAnswers(parts.identity.host);
  }

  /** Takes a batch in and answers it later; a sentence when it is illegal, and then nothing has been done. */
  handle(peer: Peer, frame: Frame, locator: SendLocator, topic: Topic, queueId: number, admitted: number): string | undefined {
    const { store } = this.#parts;
    if (topic.name.startsWith(RETRY_PREFIX)) return `batch request does not support retry group ${topic.name}`;
    const m = this.#m;
    m.queue = topic.queues[queueId] ??= store.queue(topic.name, queueId);
    m.sysFlag = 0;
    m.bornTimestamp = topic.isAppendTime ? this.#parts.clock.now() : locator.bornTimestamp();
    m.bornHost = connectionOf(peer).bornHost;
    m.reconsumeTimes = 0;
    let count = 0;
    let bytesMax = 0;
    let start = 0;
    let end = -1;
    let unnumbered: string | undefined;
    const fault = this.#each(frame, () => {
      if (count === 0 && this.#isNumbered(topic)) {
        start = m.propertiesStart;
        end = m.propertiesEnd;
        unnumbered = numberingFault(locator.queueId(), this.#scan);
      }
      count++;
      bytesMax += store.messageBytes(m);
    });
    if (fault !== undefined || unnumbered !== undefined) return fault ?? unnumbered;
    if (count === 0) return 'the message is illegal, the batch is empty';
    // Also what keeps a batch of very small messages below the most records that a group can count.
    const encodedMax = this.#parts.options.bodyBytesMax + ENCODED_BYTES_MORE;
    if (bytesMax > encodedMax)
      return `the message is illegal, the batch takes ${bytesMax} bytes of the log, more than ${encodedMax}`;
    if (end >= 0) {
      const { bytes } = frame;
      const first = {
        peer,
        frame,
        bytes,
        start,
        end,
        topic: topic.name,
        queueId,
        queue: m.queue,
        level: 'flush',
        count,
        key: NO_KEY,
        admitted,
      } as const;
      if (!this.#sequenced.passes(first)) return undefined;
    }
    const ack = new BatchAck(this.#parts, this.#answers, peer, frame.ref(), queueId, count, admitted);
    this.#parts.admission.enter(connectionOf(peer), admitted);
    const outcome = store.together(bytesMax, false, () => {
      let index = 0;
      this.#each(frame, () => {
        store.append(m, 'flush', ack, index);
        ack.positions[index] = m.position;
        ack.storeTimestamp = m.storeTimestamp;
        index++;
      });
    });
    if (outcome !== 'ok') ack.refused(outcome);
    if (end >= 0) this.#parts.sequences.settle();
    return undefined;
  }

  /** Whether the producer numbers the batch: its first message says so. */
  #isNumbered(topic: Topic): boolean {
    const { properties, propertiesStart, propertiesEnd } = this.#m;
    return isMarked(properties, propertiesStart, propertiesEnd) && this.#parts.sequences.counts(topic.name);
  }

  /** Puts each message of the batch into `#m` in turn. */
  #each(frame: Frame, visit: () => void): string | undefined {
    const { options } = this.#parts;
    const cursor = this.#cursor;
    const m = this.#m;
    cursor.begin(frame.bytes, frame.bodyStart, frame.bodyEnd);
    while (cursor.next()) {
      const scan = this.#scan.run(cursor.bytes, cursor.propertiesStart, cursor.propertiesEnd);
      m.flag = cursor.flag;
      m.setBody(cursor.bytes, cursor.bodyStart, cursor.bodyEnd);
      m.setProperties(cursor.bytes, cursor.propertiesStart, cursor.propertiesEnd);
      m.tagsCode = scan.hash(Slot.TAGS);
      m.extraStart = m.extraEnd = 0;
      if (!scan.has(Slot.UNIQUE_KEY)) m.setExtra(this.#newKey(scan.isClosed));
      const propertiesBytes = m.propertiesEnd - m.propertiesStart + m.extraEnd - m.extraStart;
      if (cursor.bodyEnd === cursor.bodyStart || propertiesBytes > options.propertiesBytesMax)
        return 'the message is illegal, a message of the batch has no body or too long properties';
      visit();
    }
    return cursor.fault;
  }

  #newKey(isClosed: boolean): Buffer {
    const key = encodeProperty(PropertyName.UNIQUE_KEY, newMessageId(this.#parts.clock.now(), this.#parts.random));
    return isClosed ? key : Buffer.concat([Buffer.from([2]), key]);
  }
}

/** Waits for the last message of a batch: the others are before it in the same group. */
class BatchAck implements AppendSink {
  readonly positions: Float64Array;
  storeTimestamp = 0;
  readonly #parts: Parts;
  readonly #answers: SendAnswers;
  readonly #peer: Peer;
  readonly #ref: ReplyRef;
  readonly #queueId: number;
  readonly #admitted: number;
  #firstOffset = -1;

  constructor(parts: Parts, answers: SendAnswers, peer: Peer, ref: ReplyRef, queueId: number, count: number, admitted: number) {
    this.#parts = parts;
    this.#answers = answers;
    this.#peer = peer;
    this.#ref = ref;
    this.#queueId = queueId;
    this.#admitted = admitted;
    this.positions = new Float64Array(count);
  }

  appended(index: number, outcome: AppendOutcome, _position: number, queueOffset: number): void {
    if (index === 0) this.#firstOffset = queueOffset;
    if (index < this.positions.length - 1) return;
    if (outcome !== 'ok') return this.refused(outcome);
    const { counters, admission } = this.#parts;
    admission.leave(connectionOf(this.#peer), this.#admitted);
    counters.sends += this.positions.length;
    counters.sendBytes += this.#admitted;
    if (this.#ref.oneway) return;
    const answer = emptySendAnswer();
    answer.code = ResponseCode.SUCCESS;
    answer.positions = this.positions;
    answer.count = this.positions.length;
    answer.queueId = this.#queueId;
    answer.queueOffset = this.#firstOffset;
    answer.storeTimestamp = this.storeTimestamp;
    this.#peer.answerWith(this.#answers, answer, this.#ref.kind, this.#ref.opaque);
  }

  refused(outcome: AppendOutcome): void {
    const { counters, admission } = this.#parts;
    admission.leave(connectionOf(this.#peer), this.#admitted);
    countFailure(counters, outcome);
    const { code, text } = appendFailure(outcome);
    this.#peer.answer(this.#ref, code, text);
  }
}

const NO_KEY = new Uint8Array(0);
/** The records of a batch may be so much longer than the longest body (RocketMQ's rule). */
const ENCODED_BYTES_MORE = 64 * 1024;
