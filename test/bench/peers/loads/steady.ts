/**
 * An open loop of 1,000 messages a second: a message is sent when it is due, however late the earlier ones are. Latency runs from the
 * call that sends it to its arrival at the handler, both in this process; every message counts.
 */
import { percentiles } from './loop.ts';

const PER_MS = 1;
const STRAGGLERS_MS = 5000;

export class SteadyLoad {
  readonly #sentAt: number[] = [];
  readonly #latencies: number[] = [];
  readonly #total: number;
  readonly #counted: number;
  #open = 0;

  constructor(warmUpMs: number, windowMs: number) {
    this.#total = Math.floor((warmUpMs + windowMs) * PER_MS);
    this.#counted = Math.floor(warmUpMs * PER_MS);
  }

  /** Message `n` has arrived; a repeat does not count. */
  received(n: number): void {
    const at = this.#sentAt[n];
    if (at === undefined || at < 0) return;
    this.#sentAt[n] = -1;
    this.#open--;
    if (n >= this.#counted) this.#latencies.push(performance.now() - at);
  }

  /** Sends them all; rejects when some have not arrived long after the last. */
  run(send: (n: number) => void): Promise<{ readonly p50Ms: number; readonly p99Ms: number }> {
    const began = performance.now();
    return new Promise((resolve, reject) => {
      const tick = (): void => {
        const now = performance.now();
        const due = Math.min(this.#total, Math.floor((now - began) * PER_MS));
        while (this.#sentAt.length < due) {
          this.#open++;
          send(this.#sentAt.push(performance.now()) - 1);
        }
        if (this.#sentAt.length < this.#total || this.#open > 0) {
          if (now - began > this.#total / PER_MS + STRAGGLERS_MS) reject(new Error(`${this.#open} messages have not arrived`));
          else setTimeout(tick, 1);
        } else resolve(percentiles(this.#latencies));
      };
      tick();
    });
  }
}

/** The number that `numbered` has put at the start of a body. */
export function numberOf(value: Uint8Array): number {
  let n = 0;
  for (let i = 0; i < DIGITS; i++) n = n * 10 + value[i]! - 48;
  return n;
}

/** A body of `bytes` bytes that begins with the number. */
export function numbered(n: number, bytes: number): Buffer {
  const value = Buffer.alloc(bytes, 97 + (n % 26));
  value.write(String(n).padStart(DIGITS, '0'), 0, 'latin1');
  return value;
}

const DIGITS = 8;
