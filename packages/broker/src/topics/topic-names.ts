import { DLQ_PREFIX, RETRY_PREFIX } from './system-topics.ts';

const TOPIC_BYTES_MAX = 127;
/** Retry and dead-letter topics carry a group's name behind their prefix. */
const INTERNAL_TOPIC_BYTES_MAX = 255;
const GROUP_BYTES_MAX = 120;
const LEGAL = /^[%|a-zA-Z0-9_-]+$/;

/** What is wrong with a topic's name, in RocketMQ's words; undefined when nothing is. */
export function topicNameFault(topic: string): string | undefined {
  if (topic.trim() === '') return 'The specified topic is blank.';
  if (!LEGAL.test(topic)) return `The specified topic contains illegal characters, allowing only ${LEGAL.source}`;
  const internal = topic.startsWith(RETRY_PREFIX) || topic.startsWith(DLQ_PREFIX);
  if (topic.length > (internal ? INTERNAL_TOPIC_BYTES_MAX : TOPIC_BYTES_MAX))
    return 'The specified topic is longer than topic max length.';
  return undefined;
}

/** What is wrong with a group's name; undefined when nothing is. */
export function groupNameFault(group: string): string | undefined {
  if (group.trim() === '') return 'The specified group is blank.';
  if (!LEGAL.test(group)) return `The specified group contains illegal characters, allowing only ${LEGAL.source}`;
  if (group.length > GROUP_BYTES_MAX) return 'The specified group is longer than group max length.';
  return undefined;
}
