/**
 * A flush: `done` once every send that waits, every batch in front of a queue and every batch that has left has told its callbacks. Open batches
 * are closed by it, so that nothing sent later joins what it waits for. Failures do not fail it.
 */
import type { Lane, ProducerBatch } from './producer-batch.ts';
import type { WaitingLine } from './waiting-sends.ts';

export function flush(
  waiting: Iterable<WaitingLine>,
  lanes: Iterable<Lane>,
  unfinished: Iterable<ProducerBatch>,
  done: () => void,
): void {
  let left = 1;
  const one = (): void => {
    if (--left === 0) done();
  };
  const follow = (batch: ProducerBatch): void => {
    left++;
    batch.ended = chain(batch.ended, one);
  };
  for (const line of waiting) {
    for (const send of line.all()) {
      const told = send.done;
      left++;
      send.done = (error, receipt) => {
        try {
          told(error, receipt);
        } finally {
          one();
        }
      };
    }
  }
  for (const lane of lanes) {
    for (const batch of lane.batches) {
      batch.closed = true;
      follow(batch);
    }
  }
  for (const batch of unfinished) follow(batch);
  one();
}

function chain(first: (() => void) | undefined, then: () => void): () => void {
  if (first === undefined) return then;
  return () => {
    first();
    then();
  };
}
