/**
 * Decides from time to time, and at once when the broker says that the group changed, which queues are this member's: for each
 * topic the readable queues and the group's members, both sorted, then {@link allocateAverage}. Every member computes the same. A topic
 * whose members or route cannot be learned, or whose members lack this one (a broker that has just restarted), keeps what it has: a
 * lost answer must not drop queues.
 *
 * At most one round is under way; a wish during a round makes one more after it.
 */
import type { Timer, Timers } from '@tallystick/base';
import { allocateAverage } from './allocate.ts';
import type { GroupCalls } from './group-calls.ts';
import { type QueueKey, compareKeys } from '../route/queue-key.ts';

export interface RebalanceOwner {
  readonly clientId: string;
  topics(): Iterable<string>;
  /** Readable queues of a topic; undefined when its route is not known (yet). */
  queuesOf(topic: string): readonly QueueKey[] | undefined;
  /** This member's queues of a topic, decided anew. */
  assign(topic: string, queues: readonly QueueKey[]): void;
  /** The broker does not count this member (any more): a heartbeat is due, and another round. Queues stay as they are. */
  unlisted(): void;
  report(sentence: string, cause: unknown): void;
}

export class Rebalance {
  readonly #calls: Pick<GroupCalls<never>, 'members'>;
  readonly #timers: Timers;
  readonly #intervalMs: number;
  readonly #owner: RebalanceOwner;
  #open = 0;
  #again = false;
  /** When the round after the present one is due. */
  #nextMs = 0;
  #stopped = false;
  #timer: Timer | undefined;
  #afterRound: (() => void)[] = [];

  constructor(calls: Pick<GroupCalls<never>, 'members'>, timers: Timers, intervalMs: number, owner: RebalanceOwner) {
    this.#calls = calls;
    this.#timers = timers;
    this.#intervalMs = intervalMs;
    this.#owner = owner;
  }

  /** A round now, or right after the present one; `done` when it is over. */
  now(done?: () => void): void {
    if (done !== undefined) this.#afterRound.push(done);
    if (this.#stopped) return;
    if (this.#open > 0) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#nextMs = this.#intervalMs;
    const topics = [...this.#owner.topics()];
    this.#open = topics.length + 1;
    for (const topic of topics) this.#decide(topic);
    this.#closeOne();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    for (const done of this.#afterRound.splice(0)) done();
  }

  /** The next round comes after `ms` at the latest. */
  soon(ms: number): void {
    if (this.#stopped) return;
    if (this.#open > 0) {
      this.#nextMs = Math.min(this.#nextMs, ms);
      return;
    }
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = this.#timers.after(ms, () => {
      this.#timer = undefined;
      this.now();
    });
  }

  #decide(topic: string): void {
    const queues = this.#owner.queuesOf(topic);
    if (queues === undefined) return this.#closeOne();
    this.#calls.members(topic, (error, members) => {
      if (this.#stopped) return;
      if (error !== undefined)
        this.#owner.report(`the members of the group are unknown (topic ${topic}); queues stay as they are`, error);
      else if (!members.includes(this.#owner.clientId)) this.#owner.unlisted();
      else this.#owner.assign(topic, allocateAverage([...queues].sort(compareKeys), members, this.#owner.clientId));
      this.#closeOne();
    });
  }

  #closeOne(): void {
    if (--this.#open > 0) return;
    if (this.#again) return this.now();
    this.soon(this.#nextMs);
    for (const done of this.#afterRound.splice(0)) done();
  }
}
