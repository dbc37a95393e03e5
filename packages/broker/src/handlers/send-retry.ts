import { ResponseCode, type Peer, type SendLocator } from '@tallystick/remoting';
import { RETRY_PREFIX } from '../topics/system-topics.ts';
import { groupNameFault } from '../topics/topic-names.ts';
import type { Topic } from '../topics/topic.ts';
import type { Parts } from './parts.ts';
import type { Refusal } from './send-rules.ts';

/**
 * Where an ordinary send to a group's retry topic goes (clients fall back to it when a send-back fails): there, or to the group's
 * dead letters when its retries are used up, or when the group consumes in order and has given up on the message.
 */
export function retryDestination(parts: Parts, topic: Topic, locator: SendLocator, peer: Peer): Topic | Refusal {
  const group = topic.name.slice(RETRY_PREFIX.length);
  if (groupNameFault(group) !== undefined) {
    return { code: ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, text: `subscription group not exist, ${group}` };
  }
  const asked = locator.maxReconsumeTimes();
  const max = asked >= 0 && peer.remoteVersion >= SAYS_MAX_SINCE ? asked : parts.options.retryMax;
  if (locator.reconsumeTimes() <= max && !parts.locks.holdsAny(group, parts.clock.monotonic())) return topic;
  parts.counters.deadLetters++;
  return (
    parts.topics.deadLettersOf(group) ?? {
      code: ResponseCode.SYSTEM_ERROR,
      text: 'create the dead-letter topic failed: too many topics',
    }
  );
}

/** Protocol version (3.4.9) from which a client's own maximum counts. */
const SAYS_MAX_SINCE = 121;
