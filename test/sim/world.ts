/**
 * One simulated world: an event queue ordered by simulated time, from which everything runs, one event at a time. A process is a
 * group of events that can be killed together; each has its own ports (clock, timers, turn, random). The same seed gives the same
 * order of events, and `traceHash` folds every event and every byte that moved into one number that proves it.
 *
 * The world knows nothing of brokers, disks or wires; see disk.ts and network.ts.
 */
import type { Clock, Random, Timer, Timers, Turn } from '@tallystick/base';
import { Prng } from './prng.ts';

export interface ProcessPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
  readonly random: Random;
}

/** Wall-clock time at which every simulated world begins: 2026-01-01T00:00:00Z. */
export const WORLD_BEGINS_MS = 1_767_225_600_000;

export class World {
  /** For decisions of the world (faults, workload); processes have streams of their own. */
  readonly random: Prng;
  readonly clock: Clock = {
    now: () => WORLD_BEGINS_MS + Math.floor(this.#nowUs / 1000) + this.#wallSkewMs,
    monotonic: () => this.#nowUs / 1000,
  };
  /** Number of events run so far. */
  steps = 0;
  /** Called with one line per noteworthy event when tracing. */
  onTrace: ((line: string) => void) | undefined;

  readonly #heap: Event[] = [];
  #nowUs = 0;
  #sequence = 0;
  #wallSkewMs = 0;
  #hash = 0x811c9dc5;

  constructor(seed: number) {
    this.random = new Prng(seed);
  }

  /** Simulated ms since the world began. */
  get timeMs(): number {
    return this.#nowUs / 1000;
  }

  get traceHash(): number {
    return this.#hash >>> 0;
  }

  /** Moves the wall clock, not the monotonic one. */
  jumpWallClock(ms: number): void {
    this.#wallSkewMs += ms;
    this.mix(ms);
  }

  /** Folds a number into the trace hash. */
  mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ (value | 0), 0x01000193) ^ (this.#hash >>> 15);
  }

  trace(line: string): void {
    this.onTrace?.(`${this.timeMs.toFixed(3).padStart(12)} ${line}`);
  }

  process(name: string): SimProcess {
    return new SimProcess(this, name, this.random.fork());
  }

  /** Runs `run` after `ms`; an event of a process that has died meanwhile never runs. */
  after(ms: number, run: () => void, owner?: SimProcess): Timer {
    const event: Event = { atUs: this.#nowUs + Math.max(0, Math.round(ms * 1000)), sequence: this.#sequence++, owner, run };
    this.#push(event);
    return event;
  }

  cancel(timer: Timer): void {
    (timer as Event).run = undefined;
  }

  /** Runs the next event. False when nothing is left. */
  step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      if (event.run === undefined || event.owner?.alive === false) continue;
      this.#nowUs = event.atUs;
      this.steps++;
      this.mix(event.atUs);
      this.mix(event.sequence);
      const run = event.run;
      event.run = undefined;
      run();
      return true;
    }
  }

  /** Runs events until `done` says so, nothing is left, or `limitMs` of simulated time have passed. True when `done` said so. */
  runUntil(done: () => boolean, limitMs: number, stepsMax = Infinity): boolean {
    const endUs = this.#nowUs + limitMs * 1000;
    const lastStep = this.steps + stepsMax;
    while (!done()) {
      const next = this.#peek();
      if (next === undefined || next.atUs > endUs) {
        this.#nowUs = Math.max(this.#nowUs, endUs);
        return done();
      }
      if (this.steps >= lastStep) return false;
      this.step();
    }
    return true;
  }

  runFor(ms: number): void {
    this.runUntil(never, ms);
  }

  #peek(): Event | undefined {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || (event.run !== undefined && event.owner?.alive !== false)) return event;
      this.#pop();
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as Event;
      if (!before(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || first === last) return first;
    let at = 0;
    for (;;) {
      let childAt = 2 * at + 1;
      if (childAt >= heap.length) break;
      if (childAt + 1 < heap.length && before(heap[childAt + 1] as Event, heap[childAt] as Event)) childAt++;
      const child = heap[childAt] as Event;
      if (!before(child, last)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = last;
    return first;
  }
}

/** A group of events with one fate, and the ports that its code is given. */
export class SimProcess {
  readonly name: string;
  readonly world: World;
  readonly ports: ProcessPorts;
  alive = true;
  readonly #atDeath: (() => void)[] = [];
  #turnEnds: (() => void)[] = [];

  constructor(world: World, name: string, random: Prng) {
    this.world = world;
    this.name = name;
    const delays = random.fork();
    this.ports = {
      clock: world.clock,
      timers: {
        after: (ms, run) => world.after(Math.max(ms, 0.001), run, this),
        cancel: (timer) => world.cancel(timer),
      },
      turn: {
        atEnd: (run) => {
          if (this.#turnEnds.push(run) === 1) world.after(delays.below(40) / 1000, () => this.#endTurn(), this);
        },
      },
      random: { u32: () => random.u32() },
    };
  }

  /** Runs `run` when this process dies, before anything else happens. */
  onDeath(run: () => void): void {
    this.#atDeath.push(run);
  }

  /** No event of this process runs any more. */
  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    this.#turnEnds = [];
    this.world.trace(`${this.name} dies`);
    for (const run of this.#atDeath.splice(0)) run();
  }

  #endTurn(): void {
    const runs = this.#turnEnds;
    this.#turnEnds = [];
    for (const run of runs) if (this.alive) run();
  }
}

interface Event {
  readonly atUs: number;
  readonly sequence: number;
  readonly owner: SimProcess | undefined;
  run: (() => void) | undefined;
}

function before(a: Event, b: Event): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.sequence < b.sequence);
}

function never(): boolean {
  return false;
}
