/**
 * Messages that are due here and at work in another process: its open transaction holds their rows. They are left alone for a while each, so that
 * a look passes over them and finds others; one that is at work for too long is to be told of, once: its process may be gone without the
 * database having noticed.
 */
interface AtWork {
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
  leave(id: string, nowMs: number, tellAfterMs: number): boolean {
    const found = this.#found.get(id) ?? { sinceMs: nowMs, untilMs: 0, told: false };
    this.#found.set(id, found);
    found.untilMs = nowMs + this.#leaveMs;
    if (found.told || nowMs - found.sinceMs < tellAfterMs) return false;
    found.told = true;
    return true;
  }

  /** What is to be left alone now. Forgets what was not found at work again soon after that. */
  present(nowMs: number): ReadonlySet<string> {
    const present = new Set<string>();
    for (const [id, { untilMs }] of this.#found) {
      if (nowMs < untilMs) present.add(id);
      else if (nowMs >= untilMs + FOUND_AGAIN * this.#leaveMs) this.#found.delete(id);
    }
    return present;
  }
}

/** Looks may be late by so many times. */
const FOUND_AGAIN = 60;
