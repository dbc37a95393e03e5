import { ResponseCode } from '@tallystick/remoting';
import { isSendForbidden } from '../topics/system-topics.ts';
import { topicNameFault } from '../topics/topic-names.ts';
import type { Topic } from '../topics/topic.ts';
import type { TopicTable } from '../topics/topic-table.ts';
import { topicNotExist } from './reply.ts';

/** A refusal with RocketMQ's code and words. */
export interface Refusal {
  readonly code: number;
  readonly text: string;
}

/** The topic of a send, made if the rules allow; for names that are not plainly known. Checks come in RocketMQ's order. */
export function topicForSend(topics: TopicTable, name: string, defaultTopic: string, defaultQueues: number): Topic | Refusal {
  const fault = topicNameFault(name);
  if (fault !== undefined) return { code: ResponseCode.INVALID_PARAMETER, text: fault };
  if (isSendForbidden(name)) return { code: ResponseCode.NO_PERMISSION, text: `Sending message to topic[${name}] is forbidden.` };
  return topics.forSend(name, defaultTopic, defaultQueues) ?? { code: ResponseCode.TOPIC_NOT_EXIST, text: topicNotExist(name) };
}

export function isRefusal(found: Topic | Refusal): found is Refusal {
  return 'code' in found;
}

export function illegalQueue(topic: Topic, queueId: number, remote: string): Refusal {
  const { name, readQueues, writeQueues, perm } = topic.config;
  const config = `TopicConfig [topicName=${name}, readQueueNums=${readQueues}, writeQueueNums=${writeQueues}, perm=${perm}]`;
  return { code: ResponseCode.INVALID_PARAMETER, text: `request queueId[${queueId}] is illegal, ${config} Producer: ${remote}` };
}

export function illegalMessage(bodyBytesMax: number): Refusal {
  const text = `the message is illegal, maybe msg body or properties length not matched. msg body length limit ${bodyBytesMax}B, msg properties length limit 32KB.`;
  return { code: ResponseCode.MESSAGE_ILLEGAL, text };
}

/**
 * Bits of the system flag that a sender may set: compressed, multi-tags, kind of compression. Transaction bits are the broker's
 * verdict and host bits its own business; a sender who could set them could forge a commit.
 */
export const SENDER_FLAGS = 0x703;
