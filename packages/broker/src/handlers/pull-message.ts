import { PullFlag, PullLocator, ResponseCode, type Frame, type Peer, type ReplyRef } from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import type { HeldPull } from '../delivery/pull-hold.ts';
import { isTagType, subscription, type Subscription } from '../groups/subscription.ts';
import type { QueueRef } from '../store/queue-ref.ts';
import type { ReadResult, ReadStatus } from '../store/store-types.ts';
import { isPullForbidden } from '../topics/system-topics.ts';
import { groupNameFault } from '../topics/topic-names.ts';
import type { Topic } from '../topics/topic.ts';
import { commitOffset } from './offsets.ts';
import type { Parts } from './parts.ts';
import { topicNotExist } from './reply.ts';
import type { Refusal } from './send-rules.ts';

/**
 * Pulls (11, 361). The records go out as they lie in the log, gathered by the store; nothing is decoded. A pull that finds nothing
 * and may wait is held until its queue grows or its time is up, then read once more and answered whatever is there.
 */
export class PullMessage {
  readonly #parts: Parts;
  readonly #locator = new PullLocator();
  /** Subscriptions that came inside pulls, by topic and expression. */
  readonly #inline = new Map<string, Subscription>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  handle(peer: Peer, frame: Frame): void {
    const locator = this.#locator;
    const ref = frame.ref();
    if (!locator.locate(frame)) return peer.answer(ref, ResponseCode.SYSTEM_ERROR, `PULL_MESSAGE: ${locator.fault()}`);
    const { counters, limits, options, store, topics } = this.#parts;
    counters.pulls++;
    const topic = topics.get(locator.topic());
    if (topic === undefined) return peer.answer(ref, ResponseCode.TOPIC_NOT_EXIST, topicNotExist(locator.topic()));
    const group = locator.consumerGroup();
    const wanted = this.#refusal(topic, group) ?? this.#wanted(topic, group);
    if ('code' in wanted) return peer.answer(ref, wanted.code, wanted.text);
    const queueId = locator.queueId();
    const sysFlag = locator.sysFlag();
    if ((sysFlag & PullFlag.COMMIT_OFFSET) !== 0) {
      commitOffset(this.#parts, peer, group, topic, queueId, locator.commitOffset(), undefined);
    }
    const queue = (topic.queues[queueId] ??= store.queue(topic.name, queueId));
    const offset = locator.queueOffset();
    // A pull that waits is a consumer's, which follows its queue; tools read where they like.
    const follows = (sysFlag & PullFlag.SUSPEND) !== 0;
    const mayWait = (sysFlag & PullFlag.SUSPEND) !== 0 && options.longPolling;
    const asked = locator.maxMsgBytes();
    const pull = new Pull(
      this.#parts,
      peer,
      ref,
      group,
      follows,
      queue,
      offset,
      Math.max(1, Math.min(locator.maxMsgNums(), options.pullCountMax)),
      this.#parts.pullBytes(asked > 0 ? Math.min(asked, options.pullBytesMax) : options.pullBytesMax),
      wanted.matches,
      mayWait ? Math.min(locator.suspendTimeoutMillis(), options.longPollMaxMs) : 0,
    );
    const within = follows ? limits.within(group, queue, offset, peer) : offset;
    if (within < offset) pull.sendBack(within);
    else pull.read();
  }

  /** Why the group may not read there, in RocketMQ's order of checks. */
  #refusal(topic: Topic, group: string): Refusal | undefined {
    const { consumers, options } = this.#parts;
    const isUnknown = !options.autoCreateGroups && consumers.group(group) === undefined;
    if (isUnknown || groupNameFault(group) !== undefined) {
      return { code: ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, text: `subscription group [${group}] does not exist` };
    }
    if (isPullForbidden(topic.name) || !topic.readable) {
      return { code: ResponseCode.NO_PERMISSION, text: `the topic[${topic.name}] pulling message is forbidden` };
    }
    const queueId = this.#locator.queueId();
    if (queueId >= 0 && queueId < topic.config.readQueues) return undefined;
    const text = `queueId[${queueId}] is illegal, topic:[${topic.name}] topicConfig.readQueueNums:[${topic.config.readQueues}] consumer group:[${group}]`;
    return { code: ResponseCode.INVALID_PARAMETER, text };
  }

  #wanted(topic: Topic, group: string): Subscription | Refusal {
    const isInside = (this.#locator.sysFlag() & PullFlag.SUBSCRIPTION) !== 0;
    return isInside ? this.#fromHeader(topic.name) : this.#fromHeartbeat(topic.name, group);
  }

  #fromHeader(topic: string): Subscription | Refusal {
    const expression = this.#locator.subscription();
    const type = this.#locator.expressionType();
    if (!isTagType(type)) return noFilter(type);
    const key = `${topic}\n${expression}`;
    let known = this.#inline.get(key);
    if (known === undefined) {
      if (this.#inline.size >= INLINE_MAX) this.#inline.clear();
      known = subscription(topic, expression);
      this.#inline.set(key, known);
    }
    return known;
  }

  #fromHeartbeat(topic: string, group: string): Subscription | Refusal {
    const members = this.#parts.consumers.group(group);
    if (members === undefined) return { code: ResponseCode.SUBSCRIPTION_NOT_EXIST, text: "the consumer's group info not exist" };
    const found = members.subscriptions.get(topic);
    if (found === undefined) return { code: ResponseCode.SUBSCRIPTION_NOT_EXIST, text: "the consumer's subscription not exist" };
    if (found.version < this.#locator.subVersion())
      return { code: ResponseCode.SUBSCRIPTION_NOT_LATEST, text: "the consumer's subscription not latest" };
    return isTagType(found.expressionType) ? found : noFilter(found.expressionType);
  }
}

/** One pull from its reading to its answer. */
class Pull implements HeldPull {
  readonly queue: QueueRef;
  readonly offset: number;
  readonly #parts: Parts;
  readonly #peer: Peer;
  readonly #ref: ReplyRef;
  readonly #group: string;
  /** The group is led by the answers. */
  readonly #follows: boolean;
  readonly #maxCount: number;
  readonly #maxBytes: number;
  readonly #matches: ((tagsCode: number) => boolean) | undefined;
  /** How long it may wait; 0 once it has, or when it must not. */
  #waitMs: number;
  timer = undefined;

  constructor(
    parts: Parts,
    peer: Peer,
    ref: ReplyRef,
    group: string,
    follows: boolean,
    queue: QueueRef,
    offset: number,
    maxCount: number,
    maxBytes: number,
    matches: ((tagsCode: number) => boolean) | undefined,
    waitMs: number,
  ) {
    this.#parts = parts;
    this.#peer = peer;
    this.#ref = ref;
    this.#group = group;
    this.#follows = follows;
    this.queue = queue;
    this.offset = offset;
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
    this.#matches = matches;
    this.#waitMs = waitMs;
  }

  read(): void {
    const { queue, offset } = this;
    this.#parts.store.read(
      { queue, offset, maxCount: this.#maxCount, maxBytes: this.#maxBytes, tagMatches: this.#matches },
      (result) => this.#found(result),
    );
  }

  /** The offset belongs to a log that has lost its end: the reader goes on at the end that was left. */
  sendBack(offset: number): void {
    const { minOffset, maxOffset } = this.queue;
    this.#found({ status: 'overflow-badly', nextOffset: offset, minOffset, maxOffset, chunks: [], bytes: 0, count: 0 });
  }

  /** A message has come, or the time is up. */
  wake(): void {
    connectionOf(this.#peer).held.delete(this);
    this.#waitMs = 0;
    this.read();
  }

  #found(result: ReadResult): void {
    const { counters, limits, reads } = this.#parts;
    if (result.status === 'error')
      return this.#peer.answer(this.#ref, ResponseCode.SYSTEM_ERROR, `store getMessage return error: ${result.reason ?? ''}`);
    const { code, remark } = STATUSES[result.status];
    const settled = result.status === 'empty' && this.offset !== 0 ? ResponseCode.PULL_OFFSET_MOVED : code;
    if (settled === ResponseCode.PULL_NOT_FOUND && this.#waitMs > 0 && this.#wait()) return;
    const fields = {
      suggestWhichBrokerId: 0,
      nextBeginOffset: result.nextOffset,
      minOffset: result.minOffset,
      maxOffset: result.maxOffset,
      topicSysFlag: 0,
      groupSysFlag: 0,
    };
    if (this.#follows) limits.lead(this.#group, this.queue, result.nextOffset, this.#peer);
    counters.pulledMessages += result.count;
    counters.pulledBytes += result.bytes;
    if (result.count > 0) reads.add(this.#group, this.queue.topic, result.count);
    this.#peer.answer(this.#ref, settled, remark, fields, result.count > 0 ? result.chunks : undefined);
  }

  #wait(): boolean {
    if (!this.#peer.isOpen) return true;
    // What arrived while the read was on its way woke nobody.
    if (this.queue.maxOffset > this.offset) {
      this.#waitMs = 0;
      this.read();
      return true;
    }
    if (!this.#parts.hold.hold(this, this.#waitMs)) return false;
    connectionOf(this.#peer).held.add(this);
    return true;
  }
}

/** RocketMQ's names, and the code of each. `empty` becomes 21 when another offset than 0 was asked for. */
const STATUSES: Readonly<Record<Exclude<ReadStatus, 'error'>, { readonly code: number; readonly remark: string }>> = {
  found: { code: ResponseCode.SUCCESS, remark: 'FOUND' },
  'none-matched': { code: ResponseCode.PULL_RETRY_IMMEDIATELY, remark: 'NO_MATCHED_MESSAGE' },
  empty: { code: ResponseCode.PULL_NOT_FOUND, remark: 'NO_MESSAGE_IN_QUEUE' },
  'overflow-one': { code: ResponseCode.PULL_NOT_FOUND, remark: 'OFFSET_OVERFLOW_ONE' },
  'overflow-badly': { code: ResponseCode.PULL_OFFSET_MOVED, remark: 'OFFSET_OVERFLOW_BADLY' },
  'too-small': { code: ResponseCode.PULL_OFFSET_MOVED, remark: 'OFFSET_TOO_SMALL' },
};

const INLINE_MAX = 10_000;

function noFilter(type: string): Refusal {
  return { code: ResponseCode.SYSTEM_ERROR, text: `The broker does not support consumer to filter message by ${type}` };
}
