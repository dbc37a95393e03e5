import {
  emptySendAnswer,
  newMessageId,
  PropertyName,
  ResponseCode,
  SendAnswers,
  SendLocator,
  type Frame,
  type HeaderKind,
  type Peer,
} from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import { OVERLOAD_TEXT, PUT_BUSY_TEXT } from '../flow-control/busy-texts.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { numberingFault } from '../sequences/producer-sequences.ts';
import { isMarked } from '../sequences/sequence-mark.ts';
import { AppendMessage } from '../store/append-message.ts';
import type { AppendOutcome, AppendSink } from '../store/store-types.ts';
import { RETRY_PREFIX } from '../topics/system-topics.ts';
import type { Topic } from '../topics/topic.ts';
import { ArrivingHalf } from '../transaction/arriving-half.ts';
import { encodedProperty, HalfExtras, placeProperties } from './half-extra.ts';
import { retryDestination } from './send-retry.ts';
import type { Parts } from './parts.ts';
import { KEY_BYTES, LONG_KEY, ONEWAY, PendingSends } from './pending-sends.ts';
import { appendFailure, countFailure } from './reply.ts';
import type { SendBatch } from './send-batch.ts';
import type { SequencedSends } from './sequenced-sends.ts';
import { illegalMessage, illegalQueue, isRefusal, SENDER_FLAGS, topicForSend } from './send-rules.ts';

/**
 * Sends of one message (10, 310): the hottest path of the broker. From the frame's bytes to the store's buffer nothing is made per
 * message, neither object nor string nor closure: the header is located, the topic found by its remembered name, the properties
 * passed over once, and the answer is written from a row of {@link PendingSends}. Halves and delayed messages branch off at the
 * properties: they are ordinary messages of another queue with a few properties more.
 */
export class SendMessage implements AppendSink {
  readonly #parts: Parts;
  readonly #batch: SendBatch;
  readonly #sequenced: SequencedSends;
  readonly #answers: SendAnswers;
  readonly #locator = new SendLocator();
  readonly #scan = new PropertyScan();
  readonly #pending = new PendingSends();
  readonly #m = new AppendMessage();
  readonly #answer = emptySendAnswer();
  readonly #positions = new Float64Array(1);
  #extra = Buffer.allocUnsafeSlow(1024);
  readonly #halfExtras = new HalfExtras();
  readonly #arriving = new ArrivingHalf();

  constructor(parts: Parts, batch: SendBatch, sequenced: SequencedSends) {
    this.#parts = parts;
    this.#batch = batch;
    this.#sequenced = sequenced;
    this.#answers = new SendAnswers(parts.identity.host);
    this.#answer.positions = this.#positions;
  }

  handle(peer: Peer, frame: Frame): void {
    const { topics, options } = this.#parts;
    const locator = this.#locator;
    if (!locator.locate(frame)) return this.#refuse(peer, frame, ResponseCode.SYSTEM_ERROR, `SEND_MESSAGE: ${locator.fault()}`);
    const name = locator.topic();
    let topic = topics.get(name);
    if (topic === undefined || topic.system) {
      const found = topicForSend(topics, name, locator.defaultTopic(), locator.defaultTopicQueueNums());
      if (isRefusal(found)) return this.#refuse(peer, frame, found.code, found.text);
      topic = found;
    }
    let queueId = locator.queueId();
    if (queueId >= topic.queueCount) {
      const { code, text } = illegalQueue(topic, queueId, peer.remote);
      return this.#refuse(peer, frame, code, text);
    }
    if (queueId < 0) queueId = this.#parts.random.u32() % Math.max(1, topic.config.writeQueues);
    const bodyBytes = frame.bodyEnd - frame.bodyStart;
    const propertiesBytes = locator.propertiesEnd - locator.propertiesStart;
    if (bodyBytes === 0 || bodyBytes > options.bodyBytesMax || propertiesBytes > options.propertiesBytesMax) {
      const { code, text } = illegalMessage(options.bodyBytesMax);
      return this.#refuse(peer, frame, code, text);
    }
    if (locator.batch()) {
      const bytes = bodyBytes + RECORD_BYTES;
      if (this.#isPutRefused(peer, frame)) return;
      const text = this.#batch.handle(peer, frame, locator, topic, queueId, bytes);
      if (text !== undefined) this.#refuse(peer, frame, ResponseCode.MESSAGE_ILLEGAL, text);
      return;
    }
    let delayAllowed = true;
    let isHandedBack = false;
    if (name.charCodeAt(0) === PERCENT && name.startsWith(RETRY_PREFIX)) {
      const found = retryDestination(this.#parts, topic, locator, peer);
      if (isRefusal(found)) return this.#refuse(peer, frame, found.code, found.text);
      isHandedBack = true;
      if (found !== topic) {
        topic = found;
        queueId = 0;
        delayAllowed = false;
      }
    }
    this.#append(peer, frame, topic, queueId, delayAllowed, isHandedBack, bodyBytes + propertiesBytes + RECORD_BYTES);
  }

  #append(
    peer: Peer,
    frame: Frame,
    topic: Topic,
    queueId: number,
    delayAllowed: boolean,
    isHandedBack: boolean,
    bytes: number,
  ): void {
    const { store, topics, admission } = this.#parts;
    if (this.#isPutRefused(peer, frame)) return;
    const locator = this.#locator;
    const m = this.#m;
    const pending = this.#pending;
    const scan = this.#scan.run(locator.propertiesBytes, locator.propertiesStart, locator.propertiesEnd);
    const level =
      delayAllowed && scan.has(Slot.DELAY) ? Math.min(scan.number(Slot.DELAY), this.#parts.options.delayLevelsMs.length) : 0;
    const isHalf = scan.has(Slot.TRANSACTION) && scan.isTrue(Slot.TRANSACTION) && !(level > 0 && locator.reconsumeTimes() > 0);
    if (isHalf && this.#isHalfRefused(peer, frame)) return;
    const isNumbered =
      isMarked(locator.propertiesBytes, locator.propertiesStart, locator.propertiesEnd) &&
      this.#parts.sequences.counts(topic.name);
    const fault = isNumbered ? numberingFault(locator.queueId(), scan) : undefined;
    if (fault !== undefined) return this.#refuse(peer, frame, ResponseCode.MESSAGE_ILLEGAL, fault);

    const row = pending.take();
    pending.peers[row] = peer;
    pending.opaques[row] = frame.opaque;
    pending.kinds[row] = frame.isOneway ? ONEWAY : frame.headerKind;
    pending.queueIds[row] = queueId;
    pending.bytes[row] = bytes;
    pending.isHalf[row] = isHalf ? 1 : 0;

    m.flag = locator.flag();
    m.sysFlag = locator.sysFlag() & SENDER_FLAGS;
    m.bornTimestamp = topic.isAppendTime ? this.#parts.clock.now() : locator.bornTimestamp();
    const connection = connectionOf(peer);
    m.bornHost = connection.bornHost;
    m.reconsumeTimes = locator.reconsumeTimes();
    m.setBody(frame.bytes, frame.bodyStart, frame.bodyEnd);
    m.setProperties(locator.propertiesBytes, locator.propertiesStart, locator.propertiesEnd);
    m.tagsCode = scan.hash(Slot.TAGS);
    m.extraStart = m.extraEnd = 0;
    if (scan.has(Slot.UNIQUE_KEY)) pending.setKey(row, scan.bytes, scan.starts[Slot.UNIQUE_KEY]!, scan.ends[Slot.UNIQUE_KEY]!);

    let isUsualHalf = false;
    if (isHalf) {
      m.queue = topics.half.queues[0] ??= store.queue(topics.half.name, 0);
      isUsualHalf = scan.isClosed && scan.has(Slot.UNIQUE_KEY) && scan.has(Slot.PRODUCER_GROUP);
      if (isUsualHalf) this.#halfExtras.add(m, scan, topic.name, queueId);
      else this.#setExtra(row, { half: true, topic: topic.name, queueId });
    } else if (level > 0) {
      m.queue = topics.schedule.queues[level - 1] ??= store.queue(topics.schedule.name, level - 1);
      m.tagsCode = this.#parts.clock.now() + this.#parts.options.delayLevelsMs[level - 1]!;
      this.#setExtra(row, { half: false, topic: topic.name, queueId });
    } else {
      m.queue = topic.queues[queueId] ??= store.queue(topic.name, queueId);
      if (!scan.has(Slot.UNIQUE_KEY)) this.#setExtra(row, undefined);
    }
    if (m.propertiesEnd - m.propertiesStart + m.extraEnd - m.extraStart > this.#parts.options.propertiesBytesMax) {
      pending.release(row);
      const { code, text } = illegalMessage(this.#parts.options.bodyBytesMax);
      return this.#refuse(peer, frame, code, text);
    }
    if (isNumbered && !this.#passes(peer, frame, topic.name, queueId, isHalf, bytes)) {
      pending.release(row);
      return;
    }
    admission.enter(connection, bytes);
    // What a consumer hands back is synced in every mode, as a send-back is: the consumer moves on.
    const isTaken = isUsualHalf
      ? this.#appendHalf(topic.name, row)
      : store.append(m, isHalf || isHandedBack ? 'synced' : 'flush', this, row);
    if (isTaken) pending.storeTimestamps[row] = m.storeTimestamp;
    if (isNumbered) this.#parts.sequences.settle();
  }

  /** Whether a message that its producer numbers is the next one. */
  #passes(peer: Peer, frame: Frame, topic: string, queueId: number, isHalf: boolean, admitted: number): boolean {
    const { propertiesBytes: bytes, propertiesStart: start, propertiesEnd: end } = this.#locator;
    const level = isHalf ? 'synced' : 'flush';
    const scan = this.#scan;
    const key = scan.bytes.subarray(scan.starts[Slot.UNIQUE_KEY], scan.ends[Slot.UNIQUE_KEY]);
    const { queue } = this.#m;
    return this.#sequenced.passes({ peer, frame, bytes, start, end, topic, queueId, queue, level, count: 1, key, admitted });
  }

  /** Tells the table of halves what has been read of the half, so that nobody reads its properties a second time. */
  #appendHalf(topic: string, row: number): boolean {
    const { halves, store } = this.#parts;
    const scan = this.#scan;
    const half = this.#arriving;
    half.group = scan.name(Slot.PRODUCER_GROUP);
    half.topic = topic;
    half.key = scan.bytes;
    half.keyStart = scan.starts[Slot.UNIQUE_KEY]!;
    half.keyEnd = scan.ends[Slot.UNIQUE_KEY]!;
    half.immunitySeconds = scan.number(Slot.IMMUNITY_SECONDS);
    halves.arriving = half;
    try {
      return store.append(this.#m, 'synced', this, row);
    } finally {
      halves.arriving = undefined;
    }
  }

  /** Properties the broker adds: a unique key if there is none, and where the message really belongs. */
  #setExtra(row: number, real: { readonly half: boolean; readonly topic: string; readonly queueId: number } | undefined): void {
    const scan = this.#scan;
    let text = scan.isClosed ? '' : '\u0002';
    let key = '';
    if (!scan.has(Slot.UNIQUE_KEY)) {
      key = newMessageId(this.#parts.clock.now(), this.#parts.random);
      text += encodedProperty(PropertyName.UNIQUE_KEY, key);
    }
    if (real?.half === true) {
      if (!scan.has(Slot.PRODUCER_GROUP)) text += encodedProperty(PropertyName.PRODUCER_GROUP, this.#locator.producerGroup());
      text += encodedProperty(PropertyName.TRANSACTION_ID, key === '' ? scan.text(Slot.UNIQUE_KEY) : key);
    }
    if (real !== undefined) text += placeProperties(real.topic, real.queueId);
    if (this.#extra.length < text.length * 3) this.#extra = Buffer.allocUnsafeSlow(text.length * 3);
    const length = this.#extra.write(text, 0, 'utf8');
    this.#m.setExtra(this.#extra, 0, length);
    if (key !== '') this.#pending.setKey(row, Buffer.from(key, 'latin1'), 0, key.length);
  }

  /** The store's word on a row. */
  appended(row: number, outcome: AppendOutcome, position: number, queueOffset: number): void {
    const { admission, counters } = this.#parts;
    const pending = this.#pending;
    const peer = pending.peers[row]!;
    const kind = pending.kinds[row]!;
    const isHalf = pending.isHalf[row] === 1;
    admission.leave(connectionOf(peer), pending.bytes[row]!);
    if (outcome === 'ok') {
      counters.sends++;
      counters.sendBytes += pending.bytes[row]!;
      if (isHalf) counters.halves++;
    } else countFailure(counters, outcome);
    if (kind !== ONEWAY) {
      if (outcome === 'ok') this.#acknowledge(peer, row, kind as HeaderKind, ResponseCode.SUCCESS, position, queueOffset);
      // The Java client rolls a half back on this code, and on no other that says "perhaps stored".
      else if (outcome === 'timeout' && isHalf)
        this.#acknowledge(peer, row, kind as HeaderKind, ResponseCode.FLUSH_DISK_TIMEOUT, position, queueOffset);
      else {
        const { code, text } = appendFailure(outcome);
        peer.answer({ opaque: pending.opaques[row]!, kind: kind as HeaderKind, oneway: false }, code, text);
      }
    }
    pending.release(row);
  }

  #acknowledge(peer: Peer, row: number, kind: HeaderKind, code: number, position: number, queueOffset: number): void {
    const pending = this.#pending;
    const answer = this.#answer;
    answer.code = code;
    this.#positions[0] = position;
    answer.queueId = pending.queueIds[row]!;
    answer.queueOffset = queueOffset;
    answer.storeTimestamp = pending.storeTimestamps[row]!;
    const length = pending.keyLengths[row]!;
    if (length === LONG_KEY) {
      answer.transactionId = pending.longKeys.get(row)!;
      answer.transactionIdStart = 0;
      answer.transactionIdEnd = answer.transactionId.length;
    } else {
      answer.transactionId = pending.keys;
      answer.transactionIdStart = row * KEY_BYTES;
      answer.transactionIdEnd = row * KEY_BYTES + length;
    }
    peer.answerWith(this.#answers, answer, kind, pending.opaques[row]!);
  }

  /** The last look before the put, for what had passed the door before the disk became busy. */
  #isPutRefused(peer: Peer, frame: Frame): boolean {
    if (!this.#parts.admission.isPageCacheBusy) return false;
    this.#parts.counters.busy++;
    this.#parts.counters.busyAtPut++;
    this.#refuse(peer, frame, ResponseCode.SYSTEM_BUSY, PUT_BUSY_TEXT);
    return true;
  }

  /** Too many halves wait for a verdict, in all or of this group. Confirmations make room, and are always let in. */
  #isHalfRefused(peer: Peer, frame: Frame): boolean {
    const { options, counters, halves } = this.#parts;
    const { table } = halves;
    if (table.openCount < options.halvesMax) {
      // A group cannot have more than there are.
      if (table.openCount + table.parkedCount < options.halvesPerGroupMax) return false;
      const group = this.#scan.has(Slot.PRODUCER_GROUP) ? this.#scan.name(Slot.PRODUCER_GROUP) : this.#locator.producerGroup();
      if (table.unsettledOf(group) < options.halvesPerGroupMax) return false;
    }
    counters.busy++;
    counters.busyHalves++;
    this.#refuse(peer, frame, ResponseCode.SYSTEM_BUSY, OVERLOAD_TEXT);
    return true;
  }

  #refuse(peer: Peer, frame: Frame, code: number, text: string): void {
    this.#parts.counters.sendsRefused++;
    peer.answer(frame.ref(), code, text);
  }
}

/** What a record needs besides body and properties, roughly. */
const RECORD_BYTES = 160;
const PERCENT = 37;
