import {
  decodeLockRequest,
  encodeLockedQueues,
  ResponseCode,
  type Frame,
  type LockRequest,
  type Peer,
} from '@tallystick/remoting';
import type { Parts } from './parts.ts';
import { Reply, type HandlerTable } from './reply.ts';

/** Leases on queues for consumption in order (41, 42). */
export function lockHandlers(parts: Parts): HandlerTable {
  const { locks, clock, topics } = parts;
  return {
    LOCK_BATCH_MQ: locking('LOCK_BATCH_MQ', ({ consumerGroup, clientId, mqSet }, reply) => {
      const nowMs = clock.monotonic();
      // Only queues that exist: otherwise anyone could fill the broker with leases on invented ones.
      const known = mqSet.filter(({ topic, queueId }) => queueId >= 0 && queueId < (topics.get(topic)?.queueCount ?? 0));
      reply.ok(
        undefined,
        encodeLockedQueues(known.filter(({ topic, queueId }) => locks.lock(consumerGroup, topic, queueId, clientId, nowMs))),
      );
    }),
    UNLOCK_BATCH_MQ: locking('UNLOCK_BATCH_MQ', ({ consumerGroup, clientId, mqSet }, reply) => {
      for (const { topic, queueId } of mqSet) locks.unlock(consumerGroup, topic, queueId, clientId);
      reply.ok();
    }),
  };
}

function locking(name: string, run: (request: LockRequest, reply: Reply) => void) {
  return (peer: Peer, frame: Frame): void => {
    const reply = new Reply(peer, frame.ref());
    const request = decodeLockRequest(frame.body());
    if (typeof request === 'string') reply.fail(ResponseCode.SYSTEM_ERROR, `${name}: ${request}`);
    else if (request.consumerGroup === '' || request.clientId === '')
      reply.fail(ResponseCode.SYSTEM_ERROR, `${name}: consumerGroup or clientId is missing`);
    else run(request, reply);
  };
}
