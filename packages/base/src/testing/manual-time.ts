import type { Clock, Random, Timer, Timers, Turn } from '../ports.ts';

/**
 * Time for tests: a clock, timers and turns that move only when told. `settle()` runs turns until none is waiting; `advance(ms)`
 * settles, then fires due timers one by one in order of time, settling after each. Nothing is real, nothing is random.
 */
export class ManualTime implements Clock, Timers, Turn {
  #nowMs: number;
  #turns: (() => void)[] = [];
  #timers: ManualTimer[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): Timer {
    const timer: ManualTimer = { atMs: this.#nowMs + Math.max(0, ms), run };
    const later = this.#timers.findIndex((other) => other.atMs > timer.atMs);
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer);
    return timer;
  }

  cancel(timer: Timer): void {
    const at = this.#timers.indexOf(timer as ManualTimer);
    if (at >= 0) this.#timers.splice(at, 1);
  }

  atEnd(run: () => void): void {
    this.#turns.push(run);
  }

  /** Timers that wait. */
  get timersWaiting(): number {
    return this.#timers.length;
  }

  /** Ends one turn: runs what asked for its end before this call. */
  endTurn(): void {
    const runs = this.#turns;
    this.#turns = [];
    for (const run of runs) run();
  }

  /** Ends turns until none is waiting; throws after `turnsMax`, when two parts keep waking each other. */
  settle(turnsMax = 100_000): void {
    for (let turn = 0; this.#turns.length > 0; turn++) {
      if (turn === turnsMax) throw new Error(`not settled after ${turnsMax} turns`);
      this.endTurn();
    }
  }

  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    this.settle();
    for (let next = this.#timers[0]; next !== undefined && next.atMs <= untilMs; next = this.#timers[0]) {
      this.#timers.shift();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      this.settle();
    }
    this.#nowMs = untilMs;
  }
}

interface ManualTimer {
  readonly atMs: number;
  readonly run: () => void;
}

/** A seeded generator (mulberry32): the same seed gives the same numbers. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return {
    u32() {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return (t ^ (t >>> 14)) >>> 0;
    },
  };
}
