/**
 * The line of batches in front of one queue. The newest batch may be open; the sender takes from the front. A batch
 * that comes back ("not stored") returns to its old place by its sequence, so the order within a queue is kept for everything
 * that has not been sent yet.
 */
import type { SendFrames, SendRequests } from '@tallystick/remoting';

export interface LaneBatch {
  /** Of a numbered request; -1 else. */
  readonly number: number;
  /** Ascends with creation. */
  readonly sequence: number;
  /** False while records may join. */
  readonly closed: boolean;
}

export class QueueLane<B extends LaneBatch> {
  readonly topic: string;
  readonly brokerName: string;
  readonly queueId: number;
  readonly batches: B[] = [];
  /** Requests of this lane without an answer. */
  inFlight = 0;
  /** True while the lane stands in the accumulator's list of lanes with batches. */
  listed = false;
  /** Bytes of its last full or sent batch: a guess at the next one's size. */
  usualBytes = 0;
  /** Numbers of its requests (idempotence): the next one of this epoch, and the first that will never be used; -1: none. */
  epoch = 0;
  nextNumber = 0;
  gapAt = -1;
  /** Numbered batches in flight. */
  readonly flying: B[] = [];
  /** Encoders of its requests, made at the first of their kind. */
  single: SendRequests | undefined;
  several: SendRequests | undefined;
  /** Templates of its single sends, one per sysFlag. */
  readonly frames: SendFrames[] = [];

  constructor(topic: string, brokerName: string, queueId: number) {
    this.topic = topic;
    this.brokerName = brokerName;
    this.queueId = queueId;
  }

  /** The batch that records may join, if there is one. */
  get open(): B | undefined {
    const last = this.batches[this.batches.length - 1];
    return last === undefined || last.closed ? undefined : last;
  }

  /** A batch in flight with a lower number. */
  lowestInFlight(batch: B): B | undefined {
    return this.flying.find((other) => other.number < batch.number);
  }

  /** Puts a batch (back) in its place. */
  insert(batch: B): void {
    let at = this.batches.length;
    while (at > 0 && this.batches[at - 1]!.sequence > batch.sequence) at--;
    if (at === this.batches.length) this.batches.push(batch);
    else this.batches.splice(at, 0, batch);
  }
}
