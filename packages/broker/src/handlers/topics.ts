import { encodeQueueTable, ResponseCode, type MessageQueue } from '@tallystick/remoting';
import type { QueueRef } from '../store/queue-ref.ts';
import { attributesFault, topicJson, type TopicConfig } from '../topics/topic.ts';
import { topicNameFault } from '../topics/topic-names.ts';
import type { Parts } from './parts.ts';
import { cold, topicNotExist, type HandlerTable } from './reply.ts';

/** Topics as administrators see them: make and change (17), list (21), one's settings (351), its offsets (202). */
export function topicHandlers(parts: Parts): HandlerTable {
  const { topics, options, store, identity, clock } = parts;
  return {
    UPDATE_AND_CREATE_TOPIC: cold('UPDATE_AND_CREATE_TOPIC', (header, reply) => {
      const name = header.topic;
      const fault = topicNameFault(name) ?? queuesFault(header.readQueueNums, header.writeQueueNums, options.queuesPerTopicMax);
      if (fault !== undefined) return reply.fail(ResponseCode.INVALID_PARAMETER, fault);
      if (topics.get(name)?.system === true)
        return reply.fail(ResponseCode.INVALID_PARAMETER, `The topic[${name}] is conflict with system topic.`);
      const known = topics.get(name);
      if (known !== undefined && header.readQueueNums < known.config.readQueues) {
        // RocketMQ allows it, and the messages of the queues that went, waiting halves and retries among them, cannot be read any more.
        const text = `topic[${name}] has ${known.config.readQueues} queues to read; with ${header.readQueueNums} the messages of the others would be out of reach`;
        return reply.fail(ResponseCode.INVALID_PARAMETER, text);
      }
      const attributes = changedAttributes(known?.config.attributes, header.attributes);
      const attributeFault = attributesFault(attributes);
      if (attributeFault !== undefined) return reply.fail(ResponseCode.INVALID_PARAMETER, attributeFault);
      const config: TopicConfig = {
        name,
        readQueues: header.readQueueNums,
        writeQueues: header.writeQueueNums,
        perm: header.perm & 7,
        sysFlag: header.topicSysFlag ?? 0,
        order: header.order ?? false,
        filterType: header.topicFilterType === 'MULTI_TAG' ? 'MULTI_TAG' : 'SINGLE_TAG',
        attributes,
      };
      if (known === undefined && topics.size >= options.topicsMax) {
        return reply.fail(ResponseCode.SYSTEM_ERROR, `too many topics: ${topics.size} (topicsMax)`);
      }
      topics.put(config, (outcome) => reply.appended(outcome));
    }),

    GET_ALL_TOPIC_CONFIG: cold('GET_ALL_TOPIC_CONFIG', (_header, reply) =>
      reply.json(topics.json(clock.now()), { totalTopicNum: topics.size }),
    ),

    GET_TOPIC_CONFIG: cold('GET_TOPIC_CONFIG', (header, reply) => {
      const topic = topics.get(header.topic);
      if (topic === undefined) reply.fail(ResponseCode.TOPIC_NOT_EXIST, `No topic in this broker. topic: ${header.topic}`);
      else reply.json(topicJson(topic.config));
    }),

    GET_TOPIC_STATS_INFO: cold('GET_TOPIC_STATS_INFO', (header, reply) => {
      const topic = topics.get(header.topic);
      if (topic === undefined) return reply.fail(ResponseCode.TOPIC_NOT_EXIST, topicNotExist(header.topic));
      const rows: (readonly [MessageQueue, unknown])[] = [];
      for (let queueId = 0; queueId < topic.queueCount; queueId++) {
        const ends = endsOf(store.findQueue(topic.name, queueId));
        rows.push([
          { topic: topic.name, brokerName: identity.brokerName, queueId },
          { ...ends, lastUpdateTimestamp: 0 },
        ]);
      }
      reply.ok(undefined, encodeQueueTable('offsetTable', rows, { topicPutTps: 0 }));
    }),
  };
}

function endsOf(queue: QueueRef | undefined): { readonly minOffset: number; readonly maxOffset: number } {
  return { minOffset: queue?.minOffset ?? 0, maxOffset: queue?.maxOffset ?? 0 };
}

function queuesFault(read: number, write: number, max: number): string | undefined {
  if (read < 0 || write < 0 || read + write === 0) return `a topic needs queues, not ${read} to read and ${write} to write`;
  return Math.max(read, write) > max
    ? `a topic has at most ${max} queues (queuesPerTopicMax), not ${Math.max(read, write)}`
    : undefined;
}

/** `+k=v` sets, `-k` removes, separated by commas. */
function changedAttributes(
  old: ReadonlyMap<string, string> | undefined,
  changes: string | undefined,
): ReadonlyMap<string, string> {
  const attributes = new Map(old ?? []);
  for (const change of (changes ?? '').split(',')) {
    const [name, value] = change.slice(1).split('=', 2);
    if (change.startsWith('+') && name !== undefined && name !== '' && value !== undefined) attributes.set(name, value);
    if (change.startsWith('-') && name !== undefined) attributes.delete(name);
  }
  return attributes;
}
