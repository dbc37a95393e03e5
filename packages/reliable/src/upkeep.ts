/**
 * Housekeeping of who is never started and has no schedule of its own: soon after something was written a bounded step is made, further ones
 * after it while there is more to do, and then none for `everyMs`. Where nothing is written nothing grows, so no timer runs on. A step that
 * fails (the database is locked, or a transaction is open on its only connection) is made again at the next occasion.
 *
 * States: `idle` → touched() → `planned` → `working` → `idle`; stop() → `stopped`, from any.
 */
import type { Clock, Timer, Timers } from '@tallystick/base';
import { pause } from './waits.ts';

export interface UpkeepPorts {
  readonly clock: Clock;
  /** Should keep no process alive. */
  readonly timers: Timers;
  readonly everyMs: number;
  /** Answers whether there is more to do. */
  readonly step: () => boolean | Promise<boolean>;
}

export class Upkeep {
  readonly #ports: UpkeepPorts;
  #state: 'idle' | 'planned' | 'working' | 'stopped' = 'idle';
  #timer: Timer | undefined;
  #atMs = 0;

  constructor(ports: UpkeepPorts) {
    this.#ports = ports;
  }

  /** Something was written. Cheap. */
  touched(): void {
    const { clock, timers } = this.#ports;
    if (this.#state !== 'idle' || clock.monotonic() < this.#atMs) return;
    this.#state = 'planned';
    this.#timer = timers.after(SOON_MS, () => void this.#work());
  }

  stop(): void {
    this.#state = 'stopped';
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    const { clock, timers, everyMs, step } = this.#ports;
    this.#state = 'working';
    let waitMs = everyMs;
    try {
      while (this.#working && (await step())) await pause(BETWEEN_MS, timers);
    } catch {
      waitMs = Math.min(everyMs, AGAIN_MS);
    }
    this.#atMs = clock.monotonic() + waitMs;
    if (this.#working) this.#state = 'idle';
  }

  get #working(): boolean {
    return this.#state === 'working';
  }
}

/** After the transaction that has written is over. */
const SOON_MS = 1_000;
/** So that others get their turn. */
const BETWEEN_MS = 20;
const AGAIN_MS = 10_000;
