import type { Clock } from '@tallystick/base';
import { Meter } from '../meter.ts';

/**
 * Messages per second that each group has been handed of each topic over the last minute, for the tools (RocketMQ's GROUP_GET_NUMS). Who
 * has been handed nothing for that long is forgotten.
 */
export class GroupReads {
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #groupsMax: number;
  readonly #groups = new Map<string, Map<string, Reads>>();

  constructor(clock: Clock, groupsMax: number) {
    this.#clock = clock;
    this.#startedMs = clock.monotonic();
    this.#groupsMax = groupsMax;
  }

  /** Once per pull that found something. */
  add(group: string, topic: string, messages: number): void {
    let topics = this.#groups.get(group);
    if (topics === undefined) {
      if (this.#groups.size >= this.#groupsMax) return;
      this.#groups.set(group, (topics = new Map()));
    }
    let reads = topics.get(topic);
    if (reads === undefined) {
      const meter = new Meter(WINDOW_MS);
      // Nothing had been handed out before.
      meter.look(Math.max(this.#startedMs, this.#clock.monotonic() - WINDOW_MS), 0);
      topics.set(topic, (reads = { meter, messages: 0 }));
    }
    reads.messages += messages;
  }

  /** To be called every few seconds. */
  look(): void {
    const nowMs = this.#clock.monotonic();
    for (const [group, topics] of this.#groups) {
      for (const [topic, { meter, messages }] of topics) {
        meter.look(nowMs, messages);
        if (meter.rate(nowMs, messages) === 0) topics.delete(topic);
      }
      if (topics.size === 0) this.#groups.delete(group);
    }
  }

  /** Of one topic or of all. */
  rate(group: string, topic?: string): number {
    const nowMs = this.#clock.monotonic();
    let sum = 0;
    for (const [name, { meter, messages }] of this.#groups.get(group) ?? [])
      if (topic === undefined || name === topic) sum += meter.rate(nowMs, messages);
    return sum;
  }
}

interface Reads {
  readonly meter: Meter;
  messages: number;
}

const WINDOW_MS = 60_000;
