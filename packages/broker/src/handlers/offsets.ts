import { ResponseCode, UpdateOffsetLocator, type Peer, type Frame } from '@tallystick/remoting';
import type { QueueRef } from '../store/queue-ref.ts';
import { groupNameFault } from '../topics/topic-names.ts';
import type { Topic } from '../topics/topic.ts';
import { readOne, storeTimestampOf } from './one-record.ts';
import type { Parts } from './parts.ts';
import { appendFailure, cold, Reply, topicNotExist, type Handler, type HandlerTable } from './reply.ts';

/** Consumer offsets (14, 15) and the ends of queues (29 to 32). */
export function offsetHandlers(parts: Parts): HandlerTable {
  const { limits, offsets, store, topics } = parts;

  /** The queue of a request; answers for itself when there is none. */
  const queueOf = (topicName: string, queueId: number, reply: Reply): QueueRef | undefined => {
    const topic = topics.get(topicName);
    if (topic === undefined) {
      reply.fail(ResponseCode.TOPIC_NOT_EXIST, topicNotExist(topicName));
      return undefined;
    }
    return queueIn(parts, topic, queueId, reply);
  };

  return {
    QUERY_CONSUMER_OFFSET: cold('QUERY_CONSUMER_OFFSET', (header, reply) => {
      const { consumerGroup, topic, queueId } = header;
      offsets.query(consumerGroup, topic, queueId, (outcome, offset) => {
        if (outcome !== 'ok') reply.appended(outcome);
        else if (offset !== undefined) reply.ok({ offset });
        else if (header.setZeroIfNotFound === false)
          reply.fail(ResponseCode.QUERY_NOT_FOUND, 'Not found, do not set to zero, maybe this group boot first');
        else firstOffset(parts, topic, queueId, reply);
      });
    }),

    UPDATE_CONSUMER_OFFSET: updateOffset(parts),

    GET_MAX_OFFSET: cold('GET_MAX_OFFSET', ({ topic, queueId }, reply) => {
      const queue = queueOf(topic, queueId, reply);
      if (queue === undefined) return;
      limits.tell(queue, queue.maxOffset, reply.peer);
      reply.ok({ offset: queue.maxOffset });
    }),

    GET_MIN_OFFSET: cold('GET_MIN_OFFSET', ({ topic, queueId }, reply) => {
      const queue = queueOf(topic, queueId, reply);
      if (queue !== undefined) reply.ok({ offset: queue.minOffset });
    }),

    SEARCH_OFFSET_BY_TIMESTAMP: cold('SEARCH_OFFSET_BY_TIMESTAMP', ({ topic, queueId, timestamp, boundaryType }, reply) => {
      const queue = queueOf(topic, queueId, reply);
      if (queue === undefined) return;
      const boundary = boundaryType?.toUpperCase() === 'UPPER' ? 'upper' : 'lower';
      store.offsetByTime(queue, timestamp, boundary, (error, offset) => {
        if (error !== undefined) reply.fail(ResponseCode.SYSTEM_ERROR, error);
        else {
          limits.tell(queue, offset, reply.peer);
          reply.ok({ offset });
        }
      });
    }),

    GET_EARLIEST_MSG_STORETIME: cold('GET_EARLIEST_MSG_STORETIME', ({ topic, queueId }, reply) => {
      const queue = queueOf(topic, queueId, reply);
      if (queue === undefined) return;
      readOne(store, queue, queue.minOffset, (record) =>
        reply.ok({ timestamp: record === undefined ? -1 : storeTimestampOf(record) }),
      );
    }),
  };
}

/** Commits an offset. The usual one-way form comes every few seconds per queue, so it goes by a locator. */
function updateOffset(parts: Parts): Handler {
  const locator = new UpdateOffsetLocator();
  return (peer: Peer, frame: Frame): void => {
    if (!locator.locate(frame))
      return new Reply(peer, frame.ref()).fail(ResponseCode.SYSTEM_ERROR, `UPDATE_CONSUMER_OFFSET: ${locator.fault()}`);
    const group = locator.consumerGroup();
    const topicName = locator.topic();
    const topic = parts.topics.get(topicName);
    const reply = frame.isOneway ? undefined : new Reply(peer, frame.ref());
    if (topic === undefined) return reply?.fail(ResponseCode.TOPIC_NOT_EXIST, `Topic ${topicName} not exist!`);
    if (commitOffset(parts, peer, group, topic, locator.queueId(), locator.commitOffset(), reply)) return;
    const text = `group[${group}], queueId[${locator.queueId()}] or offset[${locator.commitOffset()}] is illegal`;
    reply?.fail(ResponseCode.INVALID_PARAMETER, text);
  };
}

/**
 * Takes a committed offset in; false when group, queue or number are illegal. An offset beyond the end, or beyond the group's limit
 * in a log that lost its unsynced tail, becomes that: kept as it is, it would skip the messages that take those places. Who waits for an
 * answer is told that it did; most consumers do not, and are sent back when they pull.
 */
export function commitOffset(
  parts: Parts,
  peer: Peer,
  group: string,
  topic: Topic,
  queueId: number,
  offset: number,
  reply: Reply | undefined,
): boolean {
  if (queueId < 0 || queueId >= topic.queueCount || !(offset >= 0)) return false;
  if (!parts.offsets.knows(group) && (groupNameFault(group) !== undefined || parts.offsets.groupCount >= parts.options.groupsMax))
    return false;
  const queue = (topic.queues[queueId] ??= parts.store.queue(topic.name, queueId));
  const kept = Math.min(parts.limits.within(group, queue, offset, peer), queue.maxOffset);
  parts.counters.offsetCommits++;
  if (reply === undefined || kept < offset) {
    parts.offsets.update(group, topic.name, queueId, kept);
    reply?.fail(ResponseCode.INVALID_PARAMETER, beyondText(group, topic.name, queueId, offset, kept));
  } else {
    parts.offsets.update(group, topic.name, queueId, kept, (outcome) => {
      if (outcome === 'ok') reply.ok();
      else reply.fail(appendFailure(outcome).code, appendFailure(outcome).text);
    });
  }
  return true;
}

function beyondText(group: string, topic: string, queueId: number, offset: number, kept: number): string {
  return `offset[${offset}] of topic[${topic}] queueId[${queueId}] is illegal: the group[${group}] cannot have read beyond ${kept}, which is taken instead; ask for the end of the queue or an offset by time to go on from there`;
}

/** The queue handle; answers 29 for a queue the topic does not have. */
export function queueIn(parts: Parts, topic: Topic, queueId: number, reply: Reply): QueueRef | undefined {
  if (queueId >= 0 && queueId < topic.queueCount) return (topic.queues[queueId] ??= parts.store.queue(topic.name, queueId));
  reply.fail(
    ResponseCode.INVALID_PARAMETER,
    `queueId[${queueId}] is illegal, topic:[${topic.name}] topicConfig.readQueueNums:[${topic.config.readQueues}]`,
  );
  return undefined;
}

/**
 * What a group without an offset is told: 0 while the queue's first message is still there and not far back, so that a new group
 * on a small queue misses nothing; otherwise "not found", and the client's own setting decides (RocketMQ's rule, by its meaning:
 * there the measure is what still lies in memory).
 */
function firstOffset(parts: Parts, topicName: string, queueId: number, reply: Reply): void {
  const notFound = (): void =>
    reply.fail(ResponseCode.QUERY_NOT_FOUND, 'Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first');
  const topic = parts.topics.get(topicName);
  if (topic === undefined || queueId < 0 || queueId >= topic.queueCount) return notFound();
  const queue = (topic.queues[queueId] ??= parts.store.queue(topicName, queueId));
  if (queue.minOffset > 0) return notFound();
  if (queue.maxOffset === 0) return reply.ok({ offset: 0 });
  readOne(parts.store, queue, queue.minOffset, (record) => {
    const position = record === undefined ? 0 : record.readUInt32BE(28) * 4294967296 + record.readUInt32BE(32);
    if (parts.store.info().writtenEnd - position <= parts.options.newGroupFromStartBytes) reply.ok({ offset: 0 });
    else notFound();
  });
}
