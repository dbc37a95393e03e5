/**
 * Faults on demand, each for one occasion: what a network, a broker or a process does on a bad day, at the moment a test chooses.
 */
import type { MemoryBroker, MemoryFault } from '../transports/memory.ts';

/**
 * Where a process can die:
 * - `before publish`: the relay has claimed the message, the broker has seen nothing of it;
 * - `after publish`: the broker has it, the relay has not written that down: it is published again by the next relay;
 * - `before handling`: the consumer has it in hand and has done nothing: it is delivered again;
 * - `after handling`: the consumer's transaction is committed, the broker does not know: it is delivered again.
 */
export type CrashStep = 'before publish' | 'after publish' | 'before handling' | 'after handling';

export const CRASH_STEPS: readonly CrashStep[] = ['before publish', 'after publish', 'before handling', 'after handling'];

/** What was ordered and has not happened yet. */
export class Faults {
  readonly #crashes: CrashStep[] = [];
  readonly #broker: MemoryFault[] = [];

  constructor(broker: MemoryBroker) {
    const own = broker.fault;
    broker.fault = (message, push) => this.#broker.shift() ?? own(message, push);
  }

  /** Waiting for their occasion. */
  get waiting(): readonly string[] {
    return [...this.#crashes, ...this.#broker];
  }

  orderCrash(step: CrashStep): void {
    if (!CRASH_STEPS.includes(step)) throw new Error(`crashAt: ${JSON.stringify(step)} is none of ${CRASH_STEPS.join(', ')}`);
    this.#crashes.push(step);
  }

  orderFromBroker(fault: MemoryFault): void {
    this.#broker.push(fault);
  }

  /** Whether a process dies here; it does so once per order. */
  crashesAt(step: CrashStep): boolean {
    const at = this.#crashes.indexOf(step);
    if (at >= 0) this.#crashes.splice(at, 1);
    return at >= 0;
  }
}
