import { decodeObject, flagOf, jsonBody, numberOf, objectOf, textOf, type FastObject } from '@tallystick/remoting';
import { PERM_READ, PERM_WRITE } from '../topics/system-topics.ts';
import type { TopicConfig } from '../topics/topic.ts';

/** RocketMQ's mark of a state that was changed: two that are equal stand for the same topics. */
export interface DataVersion {
  readonly stateVersion: number;
  readonly timestamp: number;
  readonly counter: number;
}

/** What a broker says of itself to a name server: its topics and their version. */
export interface RegisterBody {
  readonly version: DataVersion;
  readonly topics: ReadonlyMap<string, TopicConfig>;
}

/** `topicConfigTable`: topics by name in RocketMQ's shape. */
export function encodeRegisterBody(version: DataVersion, topicConfigTable: unknown): Buffer {
  return jsonBody({ filterServerList: [], topicConfigSerializeWrapper: { dataVersion: version, topicConfigTable } });
}

/** A sentence when it cannot be understood. */
export function decodeRegisterBody(body: Uint8Array, topicsMax: number): RegisterBody | string {
  return decodeObject<RegisterBody | string>(body, (object) => {
    const wrapper = objectOf(object, 'topicConfigSerializeWrapper');
    const topics = new Map<string, TopicConfig>();
    for (const [name, bean] of objectOf(wrapper, 'topicConfigTable')) {
      if (typeof name !== 'string' || !(bean instanceof Map)) continue;
      if (topics.size >= topicsMax) return `more than ${topicsMax} topics (topicsMax)`;
      topics.set(name, topicOf(name, bean));
    }
    return { version: dataVersion(objectOf(wrapper, 'dataVersion')), topics };
  });
}

export function encodeDataVersion(version: DataVersion): Buffer {
  return jsonBody(version);
}

export function decodeDataVersion(body: Uint8Array): DataVersion | string {
  return decodeObject(body, dataVersion);
}

export function sameVersion(a: DataVersion, b: DataVersion): boolean {
  return a.stateVersion === b.stateVersion && a.timestamp === b.timestamp && a.counter === b.counter;
}

function dataVersion(object: FastObject): DataVersion {
  return {
    stateVersion: numberOf(object, 'stateVersion', 0),
    timestamp: numberOf(object, 'timestamp', 0),
    counter: numberOf(object, 'counter', 0),
  };
}

function topicOf(name: string, bean: FastObject): TopicConfig {
  return {
    name,
    readQueues: numberOf(bean, 'readQueueNums', 16),
    writeQueues: numberOf(bean, 'writeQueueNums', 16),
    perm: numberOf(bean, 'perm', PERM_READ | PERM_WRITE),
    sysFlag: numberOf(bean, 'topicSysFlag', 0),
    order: flagOf(bean, 'order', false),
    filterType: textOf(bean, 'topicFilterType') || 'SINGLE_TAG',
    attributes: new Map(),
  };
}
