import {
  encodeClusterInfo,
  encodeTopicList,
  encodeTopicRoute,
  ResponseCode,
  type BrokerData,
  type QueueData,
} from '@tallystick/remoting';
import type { TopicConfig } from '../topics/topic.ts';
import type { Parts } from './parts.ts';
import { cold, type HandlerTable } from './reply.ts';

/** The name server's part (105, 106, 206, 101): this broker and those that have registered here, as one. */
export function routeHandlers(parts: Parts): HandlerTable {
  const { topics, identity, registered } = parts;
  const self: BrokerData = {
    cluster: identity.clusterName,
    brokerName: identity.brokerName,
    brokerAddrs: new Map([['0', identity.address]]),
  };
  return {
    GET_ROUTEINFO_BY_TOPIC: cold('GET_ROUTEINFO_BY_TOPIC', (header, reply) => {
      const own = topics.get(header.topic);
      const found = registered.withTopic(header.topic);
      if (own !== undefined) found.unshift({ broker: self, config: own.config });
      if (found.length === 0) {
        const more = '\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.';
        return reply.fail(
          ResponseCode.TOPIC_NOT_EXIST,
          `No topic route info in name server for the topic: ${header.topic}${more}`,
        );
      }
      const route = {
        brokerDatas: found.map(({ broker }) => broker),
        queueDatas: found.map(({ broker, config }) => queuesOf(broker.brokerName, config)),
      };
      reply.ok(undefined, encodeTopicRoute(route));
    }),

    GET_BROKER_CLUSTER_INFO: cold('GET_BROKER_CLUSTER_INFO', (_header, reply) =>
      reply.ok(undefined, encodeClusterInfo({ brokers: [self, ...registered.all()] })),
    ),

    GET_ALL_TOPIC_LIST_FROM_NAMESERVER: cold('GET_ALL_TOPIC_LIST_FROM_NAMESERVER', (_header, reply) => {
      const names = new Set([...topics.all()].map((topic) => topic.name));
      for (const name of registered.topicNames()) names.add(name);
      reply.ok(undefined, encodeTopicList([...names]));
    }),

    /** Ordered topics ask for their configuration here; there is none. */
    GET_KV_CONFIG: cold('GET_KV_CONFIG', ({ namespace, key }, reply) =>
      reply.fail(ResponseCode.QUERY_NOT_FOUND, `No config item, Namespace: ${namespace} Key: ${key}`),
    ),
  };
}

function queuesOf(brokerName: string, { readQueues, writeQueues, perm, sysFlag }: TopicConfig): QueueData {
  return { brokerName, readQueueNums: readQueues, writeQueueNums: writeQueues, perm, topicSysFlag: sysFlag };
}
