/**
 * A failed message as the consumer itself sends it to its group's retry topic, when the broker does not take it back: RocketMQ's second way.
 * The body travels as stored (still compressed), the sender's id stays, and the properties tell where it belongs and how often it failed.
 */
import { PropertyName, SysFlag } from '@tallystick/remoting';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { ProducerRecord, SendMarks } from '../producer/record.ts';

/** A retry's first delay level; one more per failure. */
const FIRST_RETRY_LEVEL = 3;
const RETRY_LEVEL_MAX = 18;
/** Properties that described the earlier journey and would steer the next one wrongly. */
const LEFT_BEHIND = [
  PropertyName.TRANSACTION_PREPARED,
  PropertyName.PRODUCER_GROUP,
  PropertyName.MIN_OFFSET,
  PropertyName.MAX_OFFSET,
];

/** The topic that a group's failed messages come back in. */
export function retryTopic(group: string): string {
  return `%RETRY%${group}`;
}

/** `bury`: it has failed more often than allowed, so the broker moves it to the dead letters. */
export function retryCopy(
  message: ReceivedMessage,
  group: string,
  maxReconsumeTimes: number,
  bury: boolean,
): { readonly record: ProducerRecord; readonly marks: SendMarks } {
  const times = bury ? maxReconsumeTimes + 1 : message.reconsumeTimes + 1;
  const properties = new Map(message.properties);
  for (const name of LEFT_BEHIND) properties.delete(name);
  properties.set(PropertyName.RETRY_TOPIC, message.topic);
  properties.set(PropertyName.RECONSUME_TIME, String(times));
  properties.set(PropertyName.MAX_RECONSUME_TIMES, String(maxReconsumeTimes));
  properties.set(PropertyName.DELAY, String(Math.min(FIRST_RETRY_LEVEL + message.reconsumeTimes, RETRY_LEVEL_MAX)));
  return {
    record: { topic: retryTopic(group), value: message.storedBody, timestamp: message.timestamp },
    marks: {
      sysFlag: message.sysFlag & (SysFlag.COMPRESSED | SysFlag.COMPRESSION_MASK),
      properties: [...properties],
      hasId: properties.has(PropertyName.UNIQUE_KEY),
      reconsumeTimes: times,
      maxReconsumeTimes,
    },
  };
}
