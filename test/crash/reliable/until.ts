/** Waiting for a condition, with a deadline that fails by name. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Asks every `everyMs` until the answer is true; throws what was waited for when `withinMs` have passed. */
export async function until(
  what: string,
  withinMs: number,
  holds: () => boolean | Promise<boolean>,
  everyMs = 25,
): Promise<void> {
  const limitMs = performance.now() + withinMs;
  for (;;) {
    if (await holds()) return;
    if (performance.now() > limitMs) throw new Error(`waited ${withinMs / 1000} s in vain: ${what}`);
    await sleep(everyMs);
  }
}

/** The promise, or an error naming what did not come in time. */
export async function within<T>(what: string, ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms / 1000} s in vain: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
