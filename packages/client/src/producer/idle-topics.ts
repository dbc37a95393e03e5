/**
 * Finds topics that a producer can forget: nothing was sent to them for `maxIdleMs`, and nothing of them waits or is on its way. A topic
 * is found when its time is over, or, if something of it was still on its way then, at one of the next looks. Between looks this costs a
 * send nothing but the note of its time.
 */
import type { Clock, Timer, Timers } from '@tallystick/base';
import type { TopicLanes } from './topic-lanes.ts';

/** The shortest pause between two looks, as a part of `maxIdleMs`: all topics are looked at each time. */
const PAUSE_SHARE = 10;
/** Where no topic was idle, all are looked at again after so long: a send to a further one would cost a look at each of them. */
const ALL_BUSY_MS = 100;

export class IdleTopics {
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #maxIdleMs: number;
  readonly #topics: ReadonlyMap<string, TopicLanes>;
  readonly #forget: (topics: readonly TopicLanes[]) => void;
  #timer: Timer | undefined;
  /** Idle topics by the time they were used last, latest first, as they were at a certain time. */
  #candidates: { readonly topic: TopicLanes; readonly usedMs: number }[] = [];
  #listedMs = -1;
  /** All were in use then, and are taken to be until now. */
  #allBusyUntilMs = -1;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers },
    maxIdleMs: number,
    topics: ReadonlyMap<string, TopicLanes>,
    forget: (topics: readonly TopicLanes[]) => void,
  ) {
    this.#ports = ports;
    this.#maxIdleMs = maxIdleMs;
    this.#topics = topics;
    this.#forget = forget;
  }

  /** A topic has come, and is in use now. */
  arrived(): void {
    if (this.#timer === undefined) this.#lookIn(this.#maxIdleMs);
  }

  /**
   * The idle topic that was used least recently, and not in this turn: whoever is about to put a record into one keeps it. The list made
   * for one answer serves the next ones, so that a producer whose topics are always new ones does not look at all of them each time.
   */
  oldest(nowMs: number): TopicLanes | undefined {
    for (;;) {
      for (let next = this.#candidates.pop(); next !== undefined; next = this.#candidates.pop()) {
        const { topic, usedMs } = next;
        if (topic.usedMs === usedMs && topic.isIdle && this.#topics.get(topic.topic) === topic) return topic;
      }
      if (this.#listedMs === nowMs || nowMs < this.#allBusyUntilMs) return undefined;
      this.#listedMs = nowMs;
      for (const topic of this.#topics.values())
        if (topic.usedMs < nowMs && topic.isIdle) this.#candidates.push({ topic, usedMs: topic.usedMs });
      if (this.#candidates.length === 0) this.#allBusyUntilMs = nowMs + ALL_BUSY_MS;
      this.#candidates.sort((a, b) => b.usedMs - a.usedMs);
    }
  }

  close(): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #lookIn(ms: number): void {
    this.#timer = this.#ports.timers.after(ms, () => {
      this.#timer = undefined;
      this.#look(this.#ports.clock.monotonic());
    });
  }

  #look(nowMs: number): void {
    const gone: TopicLanes[] = [];
    let nextMs = Infinity;
    for (const topic of this.#topics.values()) {
      const dueMs = topic.usedMs + this.#maxIdleMs;
      if (dueMs <= nowMs && topic.isIdle) gone.push(topic);
      else nextMs = Math.min(nextMs, dueMs);
    }
    if (nextMs < Infinity) this.#lookIn(Math.max(nextMs - nowMs, this.#maxIdleMs / PAUSE_SHARE));
    if (gone.length === 0) return;
    // The list would keep them.
    this.#candidates = [];
    this.#listedMs = -1;
    this.#forget(gone);
  }
}
