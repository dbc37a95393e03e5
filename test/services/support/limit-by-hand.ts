/**
 * Real timers, of which one limit strikes when the test says and not after so many milliseconds: what is meant to be slow runs into it at once,
 * and what must succeed beside it has as long as it takes.
 */
import type { Timer, Timers } from '@tallystick/base';
import { systemTimers } from '@tallystick/base/node';

export interface LimitByHand {
  readonly timers: Timers;
  /** Every wait of `limitMs` that is under way is over. */
  strike(): void;
}

/** `limitMs`: a number that nothing else waits for. */
export function limitByHand(limitMs: number): LimitByHand {
  const real = systemTimers();
  const waiting = new Map<Timer, () => void>();
  return {
    timers: {
      after(ms, run) {
        if (ms !== limitMs) return real.after(ms, run);
        const timer = {};
        waiting.set(timer, run);
        return timer;
      },
      cancel(timer) {
        if (!waiting.delete(timer)) real.cancel(timer);
      },
    },
    strike() {
      const over = [...waiting.values()];
      waiting.clear();
      for (const run of over) run();
    },
  };
}
