import {
  decodeHeartbeat,
  decodeObject,
  encodeConsumerList,
  languageName,
  RequestCode,
  ResponseCode,
  subscriptionData,
  type ConsumerData,
  type Frame,
  type Peer,
  type SubscriptionData,
} from '@tallystick/remoting';
import type { ConsumerGroup } from '../groups/consumer-groups.ts';
import { isTagType, subscription, type Subscription } from '../groups/subscription.ts';
import { groupNameFault, topicNameFault } from '../topics/topic-names.ts';
import type { Parts } from './parts.ts';
import { cold, Reply, type HandlerTable } from './reply.ts';

/** Who is there: heartbeats (34), farewells (35), lists of members (38, 203, 204), and a look at an expression (46). */
export function clientHandlers(parts: Parts): HandlerTable {
  const { producers, consumers, topics } = parts;
  return {
    HEART_BEAT: (peer, frame) => heartbeat(parts, peer, frame),

    UNREGISTER_CLIENT: cold('UNREGISTER_CLIENT', ({ producerGroup, consumerGroup }, reply) => {
      if (producerGroup !== undefined) producers.unregister(producerGroup, reply.peer);
      if (consumerGroup !== undefined) consumers.unregister(consumerGroup, reply.peer);
      reply.ok();
    }),

    GET_CONSUMER_LIST_BY_GROUP: cold('GET_CONSUMER_LIST_BY_GROUP', ({ consumerGroup }, reply) => {
      const members = consumers.members(consumerGroup);
      if (members.length > 0) reply.ok(undefined, encodeConsumerList(members));
      else reply.fail(ResponseCode.SYSTEM_ERROR, `no consumer for this group, ${consumerGroup}`);
    }),

    CHECK_CLIENT_CONFIG: (peer, frame) => {
      const reply = new Reply(peer, frame.ref());
      const type = decodeObject(frame.body(), (object) => {
        const data = object.get('subscriptionData');
        return { type: data instanceof Map ? subscriptionData(data).expressionType : 'TAG' };
      });
      if (typeof type === 'string') reply.fail(ResponseCode.SYSTEM_ERROR, `CHECK_CLIENT_CONFIG: ${type}`);
      else if (isTagType(type.type)) reply.ok();
      else reply.fail(ResponseCode.SYSTEM_ERROR, `The broker does not support consumer to filter message by ${type.type}`);
    },

    GET_CONSUMER_CONNECTION_LIST: cold('GET_CONSUMER_CONNECTION_LIST', ({ consumerGroup }, reply) => {
      const group = consumers.group(consumerGroup);
      if (group === undefined)
        return reply.fail(ResponseCode.CONSUMER_NOT_ONLINE, `the consumer group[${consumerGroup}] not online`);
      reply.json({
        connectionSet: [...group.channels.values()].map(connectionJson),
        consumeFromWhere: group.consumeFromWhere,
        consumeType: group.consumeType,
        messageModel: group.messageModel,
        subscriptionTable: Object.fromEntries(
          [...group.subscriptions.values()].map((wanted) => [wanted.topic, subscriptionJson(wanted)]),
        ),
      });
    }),

    GET_PRODUCER_CONNECTION_LIST: cold('GET_PRODUCER_CONNECTION_LIST', ({ producerGroup }, reply) => {
      const channels = producers.channels(producerGroup);
      if (channels.length > 0) reply.json({ connectionSet: channels.map(connectionJson) });
      else reply.fail(ResponseCode.SYSTEM_ERROR, `the producer group[${producerGroup}] not exist`);
    }),

    QUERY_TOPICS_BY_CONSUMER: cold('QUERY_TOPICS_BY_CONSUMER', ({ group }, reply) => {
      const names = new Set([...parts.offsets.of(group)].map(({ topic }) => topic));
      for (const topic of consumers.group(group)?.subscriptions.keys() ?? []) names.add(topic);
      reply.json({ topicList: [...names].filter((name) => topics.get(name) !== undefined) });
    }),

    QUERY_SUBSCRIPTION_BY_CONSUMER: cold('QUERY_SUBSCRIPTION_BY_CONSUMER', ({ group, topic }, reply) => {
      const wanted = topic === undefined ? undefined : consumers.subscription(group, topic);
      reply.json({ group, topic, subscriptionData: wanted === undefined ? undefined : subscriptionJson(wanted) });
    }),
  };
}

/** Tells every member of a group that the group has changed. Who consumes everything alone (broadcasting) need not know. */
export function notifyMembers(group: ConsumerGroup<Peer>): void {
  if (group.messageModel === 'BROADCASTING') return;
  for (const peer of group.channels.keys()) peer.oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, { consumerGroup: group.group });
}

function heartbeat(parts: Parts, peer: Peer, frame: Frame): void {
  const reply = new Reply(peer, frame.ref());
  const data = decodeHeartbeat(frame.body());
  if (typeof data === 'string') return reply.fail(ResponseCode.SYSTEM_ERROR, `HEART_BEAT: ${data}`);
  const fault = heartbeatFault(data.clientID, [...data.producerDataSet, ...data.consumerDataSet]);
  if (fault !== undefined) return reply.fail(ResponseCode.SYSTEM_ERROR, `HEART_BEAT: ${fault}`);
  const lastSeenMs = parts.clock.monotonic();
  const channel = {
    peer,
    clientId: data.clientID,
    language: languageName(peer.remoteLanguage),
    version: peer.remoteVersion,
    lastSeenMs,
  };
  let fits = true;
  for (const consumer of data.consumerDataSet) {
    if (!parts.options.autoCreateGroups && parts.topics.get(`%RETRY%${consumer.groupName}`) === undefined) fits = false;
    else
      fits =
        parts.consumers.register(helloOf(consumer), { ...channel }) &&
        parts.topics.retryOf(consumer.groupName) !== undefined &&
        fits;
  }
  for (const { groupName } of data.producerDataSet) fits = parts.producers.register(groupName, { ...channel }) && fits;
  if (!fits)
    return reply.fail(
      ResponseCode.SYSTEM_ERROR,
      `HEART_BEAT: too many groups or topics (groupsMax ${parts.options.groupsMax}, topicsMax ${parts.options.topicsMax})`,
    );
  // TS_DEDUP: requests that their producer numbers are stored once.
  reply.ok({ IS_SUPPORT_HEART_BEAT_V2: true, IS_SUB_CHANGE: true, TS_DEDUP: 1 });
}

function heartbeatFault(clientId: string, groups: readonly { readonly groupName: string }[]): string | undefined {
  if (clientId === '') return 'clientID is missing';
  for (const { groupName } of groups) {
    const fault = groupNameFault(groupName);
    if (fault !== undefined) return `${fault} (group ${groupName})`;
  }
  return undefined;
}

function helloOf(data: ConsumerData) {
  return {
    group: data.groupName,
    consumeType: data.consumeType,
    messageModel: data.messageModel,
    consumeFromWhere: data.consumeFromWhere,
    subscriptions: data.subscriptionDataSet.filter(({ topic }) => topicNameFault(topic) === undefined).map(subscriptionOf),
  };
}

function subscriptionOf(data: SubscriptionData): Subscription {
  return subscription(data.topic, data.subString, data.expressionType, data.subVersion, {
    tags: data.tagsSet,
    codes: data.codeSet,
    classFilter: data.classFilterMode,
  });
}

function subscriptionJson(wanted: Subscription) {
  return {
    classFilterMode: wanted.classFilter,
    codeSet: wanted.codes,
    expressionType: wanted.expressionType,
    subString: wanted.expression,
    subVersion: wanted.version,
    tagsSet: wanted.tags,
    topic: wanted.topic,
  };
}

function connectionJson(channel: {
  readonly peer: Peer;
  readonly clientId: string;
  readonly language: string;
  readonly version: number;
}) {
  return { clientAddr: channel.peer.remote, clientId: channel.clientId, language: channel.language, version: channel.version };
}
