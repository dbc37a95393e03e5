const TOPIC_LENGTH_MAX = 127;
const TOPIC_PATTERN = /^[%|a-zA-Z0-9_-]+$/;

/** What is wrong with a topic's name, by RocketMQ's rules; undefined when nothing is. System topics (`%…`) may be longer. */
export function topicFault(topic: string): string | undefined {
  if (typeof topic !== 'string' || topic.length === 0) return 'topic must be a text';
  if (topic.length > TOPIC_LENGTH_MAX && !topic.startsWith('%')) return `topic is longer than ${TOPIC_LENGTH_MAX}`;
  return TOPIC_PATTERN.test(topic) ? undefined : `topic "${topic}" may only have letters, digits, _, -, % and |`;
}
