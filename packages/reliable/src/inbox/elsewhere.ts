/**
 * Messages that are due here and at work in another process: its open transaction holds their rows. They are left alone for a while each, so that
 * a look passes over them and finds others; one that is at work for too long is to be told of, once: its process may be gone without the
 * database having noticed. A row at which an attempt has begun or ended since is another matter, and is neither left alone nor told of for it.
 */
import type { KeptRow } from './kept.ts';

/** A row at which an attempt may be at work, as it was read. */
export type Suspect = Pick<KeptRow, 'id' | 'started' | 'tries'>;

interface AtWork {
  readonly started: number;
  readonly tries: number;
  readonly sinceMs: number;
  untilMs: number;
  told: boolean;
}

export class Elsewhere {
  readonly #found = new Map<string, AtWork>();
  readonly #leaveMs: number;

  constructor(leaveMs: number) {
    this.#leaveMs = leaveMs;
  }

  /** A message was found at work. Answers whether that is to be told: it has been so for `tellAfterMs`, and was not told of. */
  leave(row: Suspect, nowMs: number, tellAfterMs: number): boolean {
    const { id, started, tries } = row;
    const found = this.#of(row) ?? { started, tries, sinceMs: nowMs, untilMs: 0, told: false };
    this.#found.set(id, found);
    found.untilMs = nowMs + this.#leaveMs;
    if (found.told || nowMs - found.sinceMs < tellAfterMs) return false;
    found.told = true;
    return true;
  }

  /** Whether it is to be left alone now. */
  has(row: Suspect, nowMs: number): boolean {
    const found = this.#of(row);
    return found !== undefined && nowMs < found.untilMs;
  }

  /** Forgets what was not found at work again soon after it had been left alone. */
  forget(nowMs: number): void {
    for (const [id, { untilMs }] of this.#found) if (nowMs >= untilMs + FOUND_AGAIN * this.#leaveMs) this.#found.delete(id);
  }

  #of({ id, started, tries }: Suspect): AtWork | undefined {
    const found = this.#found.get(id);
    return found?.started === started && found.tries === tries ? found : undefined;
  }
}

/** Looks may be late by so many times. */
const FOUND_AGAIN = 60;
