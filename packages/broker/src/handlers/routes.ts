import { encodeClusterInfo, encodeTopicList, encodeTopicRoute, ResponseCode, type BrokerData } from '@tallystick/remoting';
import type { Parts } from './parts.ts';
import { cold, type HandlerTable } from './reply.ts';

/** The name server's part (105, 106, 206, 224): one broker, whose routes are its topics. */
export function routeHandlers(parts: Parts): HandlerTable {
  const { topics, identity } = parts;
  const broker: BrokerData = {
    cluster: identity.clusterName,
    brokerName: identity.brokerName,
    brokerAddrs: new Map([['0', identity.address]]),
  };
  const names = (): string[] => [...topics.all()].map((topic) => topic.name);
  return {
    GET_ROUTEINFO_BY_TOPIC: cold('GET_ROUTEINFO_BY_TOPIC', (header, reply) => {
      const topic = topics.get(header.topic);
      if (topic === undefined) {
        const more = '\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.';
        return reply.fail(
          ResponseCode.TOPIC_NOT_EXIST,
          `No topic route info in name server for the topic: ${header.topic}${more}`,
        );
      }
      const { readQueues, writeQueues, perm, sysFlag } = topic.config;
      const queues = {
        brokerName: broker.brokerName,
        readQueueNums: readQueues,
        writeQueueNums: writeQueues,
        perm,
        topicSysFlag: sysFlag,
      };
      reply.ok(undefined, encodeTopicRoute({ brokerDatas: [broker], queueDatas: [queues] }));
    }),

    GET_BROKER_CLUSTER_INFO: cold('GET_BROKER_CLUSTER_INFO', (_header, reply) =>
      reply.ok(undefined, encodeClusterInfo({ brokers: [broker] })),
    ),

    GET_ALL_TOPIC_LIST_FROM_NAMESERVER: cold('GET_ALL_TOPIC_LIST_FROM_NAMESERVER', (_header, reply) =>
      reply.ok(undefined, encodeTopicList(names())),
    ),

    /** Ordered topics ask for their configuration here; there is none. */
    GET_KV_CONFIG: cold('GET_KV_CONFIG', ({ namespace, key }, reply) =>
      reply.fail(ResponseCode.QUERY_NOT_FOUND, `No config item, Namespace: ${namespace} Key: ${key}`),
    ),
  };
}
