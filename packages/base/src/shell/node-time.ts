import { randomFillSync } from 'node:crypto';
import type { Clock, Random, Timer, Timers, Turn } from '../ports.ts';

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Node takes a longer time for none at all; 24 days are as good as for ever. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Real timers. With `unref` they do not keep the process alive: for an embedded broker whose host decides when to end. */
export function systemTimers(options: { readonly unref?: boolean | undefined } = {}): Timers {
  return {
    after(ms, run) {
      const timer = setTimeout(run, Math.min(ms, TIMER_MS_MAX));
      if (options.unref === true) timer.unref();
      return timer;
    },
    cancel: (timer: Timer) => clearTimeout(timer as NodeJS.Timeout),
  };
}

/** Operating-system randomness, taken 4 KiB at a time. */
export function systemRandom(): Random {
  const pool = new Uint32Array(1024);
  let next = pool.length;
  return {
    u32() {
      if (next === pool.length) {
        randomFillSync(pool);
        next = 0;
      }
      return pool[next++]!;
    },
  };
}

/**
 * The end of the turn is the check phase of Node's loop: all sockets that were readable have been read by then. One immediate
 * serves all who ask in a turn. Who asks while they run is served after them in the same phase, so that "decide, then write" is
 * not one loop later; after `ROUNDS_MAX` such rounds the sockets have their turn.
 */
export function systemTurn(): Turn {
  let waiting: (() => void)[] = [];
  let spare: (() => void)[] = [];
  let scheduled = false;
  const schedule = (): void => {
    scheduled = true;
    setImmediate(runAll);
  };
  const runAll = (): void => {
    try {
      for (let round = 0; round < ROUNDS_MAX && waiting.length > 0; round++) runRound();
    } finally {
      scheduled = false;
      if (waiting.length > 0) schedule();
    }
  };
  const runRound = (): void => {
    const runs = waiting;
    waiting = spare;
    spare = [];
    let at = 0;
    try {
      while (at < runs.length) runs[at++]!();
    } finally {
      // One that throws must not silence the others: they run in the next turn.
      if (at < runs.length) waiting.unshift(...runs.slice(at));
      runs.length = 0;
      spare = runs;
    }
  };
  return {
    atEnd(run) {
      waiting.push(run);
      if (!scheduled) schedule();
    },
  };
}

const ROUNDS_MAX = 4;
