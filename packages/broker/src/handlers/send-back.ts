import { newMessageId, offsetMessageId, PropertyName, ResponseCode, type Header } from '@tallystick/remoting';
import { PUT_BUSY_STATUS } from '../flow-control/busy-texts.ts';
import { planRetry } from '../delivery/retry.ts';
import { editProperties } from '../properties-edit.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { AppendMessage } from '../store/append-message.ts';
import { RecordView } from '../store/record-view.ts';
import { sinkOf } from '../store/store-types.ts';
import { DLQ_PREFIX, isPullForbidden, RETRY_PREFIX } from '../topics/system-topics.ts';
import { groupNameFault } from '../topics/topic-names.ts';
import type { Parts } from './parts.ts';
import { cold, type HandlerTable, type Reply } from './reply.ts';

/**
 * A consumer gives a message back (36): the broker looks it up by its place in the log and stores a copy for the group, to be
 * delivered again after a delay, or among its dead letters. It is answered when the copy is as durable as the flush mode promises,
 * so the consumer's offset may pass the original. Works when the disk is full, from the reserve.
 */
export function sendBackHandlers(parts: Parts): HandlerTable {
  const back = new SendBack(parts);
  return { CONSUMER_SEND_MSG_BACK: cold('CONSUMER_SEND_MSG_BACK', (header, reply) => back.handle(header, reply)) };
}

class SendBack {
  readonly #parts: Parts;
  readonly #m = new AppendMessage();
  readonly #view = new RecordView();
  readonly #scan = new PropertyScan();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  handle(header: Header<'CONSUMER_SEND_MSG_BACK'>, reply: Reply): void {
    const { store } = this.#parts;
    if (groupNameFault(header.group) !== undefined) {
      return reply.fail(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, `subscription group not exist, ${header.group}`);
    }
    store.readRecord(header.offset, (error, bytes) => {
      const record = error === undefined ? this.#view.move(bytes, 0, bytes.length, header.offset) : undefined;
      if (record === undefined || !this.#mayHave(record, header.group)) {
        return reply.fail(ResponseCode.SYSTEM_ERROR, `look message by offset failed, ${header.offset}`);
      }
      this.#store(header, record, reply);
    });
  }

  /** Not a half or delayed message, and not another group's retry or dead letter: those a client has never been given. */
  #mayHave(record: RecordView, group: string): boolean {
    const topic = record.topic();
    if (isPullForbidden(topic)) return false;
    if (topic.startsWith(RETRY_PREFIX)) return topic.slice(RETRY_PREFIX.length) === group;
    return !topic.startsWith(DLQ_PREFIX) || topic.slice(DLQ_PREFIX.length) === group;
  }

  #store(header: Header<'CONSUMER_SEND_MSG_BACK'>, record: RecordView, reply: Reply): void {
    const { store, topics, options, counters, clock } = this.#parts;
    const { bytes } = record;
    const scan = this.#scan.run(bytes, record.propertiesStart, record.propertiesEnd);
    const max =
      header.maxReconsumeTimes !== undefined && header.maxReconsumeTimes >= 0 ? header.maxReconsumeTimes : options.retryMax;
    const plan = planRetry(record.reconsumeTimes, header.delayLevel, max);
    const target = plan.to === 'dead-letters' ? topics.deadLettersOf(header.group) : topics.retryOf(header.group);
    if (target === undefined) return reply.fail(ResponseCode.SYSTEM_ERROR, 'topic for the message is missing: too many topics');

    const changes = new Map<string, string | undefined>([
      [PropertyName.RETRY_TOPIC, scan.text(Slot.RETRY_TOPIC) || record.topic()],
      [PropertyName.ORIGIN_MESSAGE_ID, scan.text(Slot.ORIGIN_ID) || offsetMessageId(this.#parts.identity.host, record.position)],
      [PropertyName.WAIT, 'false'],
      [PropertyName.DELAY, undefined],
      [PropertyName.REAL_TOPIC, undefined],
      [PropertyName.REAL_QUEUE_ID, undefined],
    ]);
    if (!scan.has(Slot.UNIQUE_KEY)) changes.set(PropertyName.UNIQUE_KEY, newMessageId(clock.now(), this.#parts.random));
    const m = this.#m;
    m.tagsCode = scan.hash(Slot.TAGS);
    if (plan.to === 'dead-letters') {
      m.queue = target.queues[0] ??= store.queue(target.name, 0);
    } else {
      const level = Math.min(plan.level, options.delayLevelsMs.length);
      changes.set(PropertyName.DELAY, String(level));
      changes.set(PropertyName.REAL_TOPIC, target.name);
      changes.set(PropertyName.REAL_QUEUE_ID, '0');
      m.queue = topics.schedule.queues[level - 1] ??= store.queue(topics.schedule.name, level - 1);
      m.tagsCode = clock.now() + options.delayLevelsMs[level - 1]!;
    }
    m.flag = record.flag;
    m.sysFlag = record.sysFlag & BODY_FLAGS;
    m.bornTimestamp = record.bornTimestamp;
    m.bornHost = bytes.subarray(record.bornHostStart, record.bornHostEnd);
    m.reconsumeTimes = record.reconsumeTimes + 1;
    m.setBody(bytes, record.bodyStart, record.bodyEnd);
    m.bodyCrc = record.bodyCrc;
    const properties = editProperties(bytes.subarray(record.propertiesStart, record.propertiesEnd), changes);
    if (properties.length > options.propertiesBytesMax)
      return reply.fail(ResponseCode.MESSAGE_ILLEGAL, 'the message is illegal, its properties are too long to be sent back');
    m.setProperties(properties);
    m.mayUseReserve = true;
    const sink = sinkOf((outcome) => {
      if (outcome === 'ok') {
        counters.sendBacks++;
        if (plan.to === 'dead-letters') counters.deadLetters++;
      }
      reply.appended(outcome);
    });
    // Synced in every mode: its consumer moves on, and nobody would send the copy again.
    // RocketMQ's answer: the name of the store's status, with 1. The consumer keeps the message and tries again.
    if (this.#parts.admission.isPageCacheBusy) {
      counters.busy++;
      counters.busyAtPut++;
      return reply.fail(ResponseCode.SYSTEM_ERROR, PUT_BUSY_STATUS);
    }
    store.append(m, 'synced', sink, 0);
  }
}

/** How the body is compressed and tagged stays; transaction bits do not: the copy is a message of its own. */
const BODY_FLAGS = 0x703;
