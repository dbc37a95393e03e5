/**
 * The queues a consumer has been given, and how each is taken over and handed back.
 *
 *    assigned ─▶ (orderly: lock) ─▶ where to start? ─▶ pulling ─▶ leaving ─▶ gone
 *                   │ not granted        │ no answer        │ offset told with an answer, lock returned
 *                   └──── again soon ◀───┘
 *
 * Where to start: the group's stored offset; without one the queue's first or next offset as configured. Always the first in a retry topic,
 * and in a topic that was made after the consumer had asked for it: nothing there is older than the subscription. The starting point is
 * committed at once, so a group that started at the end does not skip what comes between two starts.
 */
import type { Clock, Timers } from '@tallystick/base';
import type { ConsumerOptions } from '../options.ts';
import { type QueueKey, keyText } from '../route/queue-key.ts';
import type { GroupCalls } from './group-calls.ts';
import { OffsetStore } from './offset-store.ts';
import { ProcessQueue } from './process-queue.ts';
import { Puller, type PullerOwner } from './puller.ts';
import type { QueueLocks } from './queue-locks.ts';

export interface AssignmentOwner<M> extends PullerOwner<M> {
  /** True for topics that start at their first message whatever is configured. */
  startsAtFirst(topic: string): boolean;
  /** A queue could not be taken over; another round should come soon. */
  tryAgain(): void;
}

interface Assigned<M> {
  readonly key: QueueKey;
  /** Undefined while it is being taken over. */
  queue: ProcessQueue<M> | undefined;
  puller: Puller<M> | undefined;
  left: boolean;
}

export interface AssignmentPorts {
  readonly clock: Clock;
  readonly timers: Timers;
}

export class Assignment<M> {
  readonly offsets: OffsetStore;
  readonly #calls: GroupCalls<M>;
  readonly #ports: AssignmentPorts;
  readonly #options: ConsumerOptions & { readonly from: 'first' | 'last' };
  readonly #locks: QueueLocks | undefined;
  readonly #owner: AssignmentOwner<M>;
  readonly #assigned = new Map<string, Assigned<M>>();
  /** Queues that left while a handler still had one of their messages. */
  readonly #leaving = new Map<ProcessQueue<M>, () => void>();
  #takingOver = 0;
  #settled: (() => void)[] = [];

  constructor(
    calls: GroupCalls<M>,
    ports: AssignmentPorts,
    options: ConsumerOptions & { readonly from: 'first' | 'last' },
    locks: QueueLocks | undefined,
    owner: AssignmentOwner<M>,
  ) {
    this.#calls = calls;
    this.#ports = ports;
    this.#options = options;
    this.#locks = locks;
    this.#owner = owner;
    this.offsets = new OffsetStore((key, offset, answered, done) => calls.commit(key, offset, answered, done));
  }

  /** Queues that are being pulled. */
  *queues(): Iterable<ProcessQueue<M>> {
    for (const { queue } of this.#assigned.values()) if (queue !== undefined) yield queue;
  }

  /** Makes `keys` the queues of `topic`: others are handed back, new ones taken over. */
  assign(topic: string, keys: readonly QueueKey[]): void {
    const wanted = new Map(keys.map((key) => [keyText(key), key]));
    for (const [text, assigned] of this.#assigned) {
      if (assigned.key.topic === topic && !wanted.has(text)) this.#handBack(text, assigned);
    }
    const leaving = new Set([...this.#leaving.keys()].map((queue) => keyText(queue.key)));
    const fresh = [...wanted].filter(([text]) => !this.#assigned.has(text) && !leaving.has(text)).map(([, key]) => key);
    // A queue that comes back while a handler still has a message of its last time here would run beside it, and its offsets and lock
    // would go when that handler ends.
    if ([...wanted.keys()].some((text) => leaving.has(text))) this.#owner.tryAgain();
    if (fresh.length === 0) return;
    if (this.#locks === undefined) for (const key of fresh) this.#takeOver(key);
    else this.#lockAndTakeOver(fresh, this.#locks);
  }

  /** `done` when no queue is being taken over any more: each is pulled, or will be tried again. */
  whenSettled(done: () => void): void {
    this.#settled.push(done);
    this.#checkSettled();
  }

  /** A message of this queue is finished: it may have room again, or be free to leave. */
  finished(queue: ProcessQueue<M>): void {
    if (queue.dropped) return this.#leaveWhenIdle(queue);
    if (!queue.stalled || queue.isFull) return;
    this.#assigned.get(keyText(queue.key))?.puller?.wake();
  }

  /** Starts a queue anew elsewhere: its offsets moved. What handlers have of the old window no longer counts. */
  moveTo(queue: ProcessQueue<M>, offset: number): void {
    const assigned = this.#assigned.get(keyText(queue.key));
    if (assigned === undefined || assigned.queue !== queue) return;
    queue.dropped = true;
    this.#begin(assigned, offset, undefined);
  }

  /** Queues whose lock was lost are no longer ours until a round assigns them again. */
  lockLost(key: QueueKey): void {
    const text = keyText(key);
    const assigned = this.#assigned.get(text);
    if (assigned !== undefined) this.#handBack(text, assigned);
    this.#owner.tryAgain();
  }

  /** Stops all pulls and forgets messages that no handler has. */
  stopPulling(): void {
    for (const { puller, queue } of this.#assigned.values()) {
      puller?.stop();
      queue?.forgetWaiting();
    }
  }

  /** Tells every offset with an answer and returns all locks. */
  leaveAll(done: () => void): void {
    this.offsets.tellAll(() => {
      if (this.#locks !== undefined) this.#locks.releaseAll();
      this.#assigned.clear();
      done();
    });
  }

  #lockAndTakeOver(keys: readonly QueueKey[], locks: QueueLocks): void {
    for (const key of keys) this.#assigned.set(keyText(key), { key, queue: undefined, puller: undefined, left: false });
    this.#takingOver++;
    locks.acquire(keys, (granted) => {
      const got = new Set(granted.map(keyText));
      for (const key of keys) {
        const assigned = this.#assigned.get(keyText(key));
        // Handed back meanwhile: a lock that nobody uses would be renewed for ever, and no other member would get the queue.
        if (assigned === undefined && got.has(keyText(key))) locks.release(key);
        if (assigned === undefined || assigned.queue !== undefined) continue;
        this.#assigned.delete(keyText(key));
        if (assigned.left) continue;
        if (got.has(keyText(key))) this.#takeOver(key);
        else this.#owner.tryAgain();
      }
      this.#tookOver();
    });
  }

  #takeOver(key: QueueKey): void {
    const assigned: Assigned<M> = { key, queue: undefined, puller: undefined, left: false };
    this.#assigned.set(keyText(key), assigned);
    this.#takingOver++;
    this.#startingPoint(key, (error, offset, told) => {
      if (error === undefined && !assigned.left) this.#begin(assigned, offset, told);
      else if (!assigned.left) this.#giveUp(assigned, error!);
      this.#tookOver();
    });
  }

  #giveUp(assigned: Assigned<M>, error: Error): void {
    this.#assigned.delete(keyText(assigned.key));
    this.#locks?.release(assigned.key);
    this.#owner.report(`where to start on ${keyText(assigned.key)} is not known yet`, error);
    this.#owner.tryAgain();
  }

  #tookOver(): void {
    this.#takingOver--;
    this.#checkSettled();
  }

  #checkSettled(): void {
    if (this.#takingOver > 0) return;
    for (const done of this.#settled.splice(0)) done();
  }

  #begin(assigned: Assigned<M>, offset: number, told: number | undefined): void {
    const queue = new ProcessQueue<M>(assigned.key, offset, this.#options);
    const options = { retryMs: this.#options.pullRetryMs, quickMs: this.#options.pullIdleMs, idleMs: this.#options.pullIdleMs };
    assigned.queue = queue;
    assigned.puller = new Puller(queue, this.#calls, this.#ports, options, this.#owner);
    this.offsets.follow(assigned.key, told, () => queue.commitOffset);
    if (told === undefined) this.#tellStart(assigned.key);
    assigned.puller.start();
  }

  #tellStart(key: QueueKey): void {
    this.offsets.tell(key, (error) => {
      if (error !== undefined) this.#owner.report(`the offset that ${keyText(key)} begins at could not be committed yet`, error);
    });
  }

  #startingPoint(key: QueueKey, done: (error: Error | undefined, offset: number, told: number | undefined) => void): void {
    this.#calls.storedOffset(key, (error, stored) => {
      if (error !== undefined) return done(error, 0, undefined);
      if (stored !== undefined && stored >= 0) return done(undefined, stored, stored);
      const first = this.#options.from === 'first' || this.#owner.startsAtFirst(key.topic);
      const then = (failure: Error | undefined, offset: number): void => done(failure, offset, undefined);
      if (first) this.#calls.minOffset(key, then);
      else this.#calls.maxOffset(key, then);
    });
  }

  #handBack(text: string, assigned: Assigned<M>): void {
    this.#assigned.delete(text);
    assigned.left = true;
    assigned.puller?.stop();
    const { queue } = assigned;
    if (queue === undefined) return this.#locks?.release(assigned.key);
    queue.forgetWaiting();
    queue.dropped = true;
    this.#leaving.set(queue, () => {
      this.offsets.leave(assigned.key, () => {
        this.#leaving.delete(queue);
        this.#locks?.release(assigned.key);
      });
    });
    // Without locks the next owner has begun already: tell what is certain now. With a lock it waits for the handler.
    if (this.#locks === undefined) this.#leave(queue);
    else this.#leaveWhenIdle(queue);
  }

  #leaveWhenIdle(queue: ProcessQueue<M>): void {
    if (queue.running === 0) this.#leave(queue);
  }

  #leave(queue: ProcessQueue<M>): void {
    const leave = this.#leaving.get(queue);
    if (leave === undefined) return;
    // With a lock it is leaving until the lock is returned: were it taken over again before, the return would take the new lock away.
    if (this.#locks === undefined) this.#leaving.delete(queue);
    else this.#leaving.set(queue, () => {});
    leave();
  }
}
