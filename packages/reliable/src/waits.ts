import type { Timers } from '@tallystick/base';

/** Waiting, over timers that are handed in. */

/** Whether the promise, which never rejects, comes back within `ms`. */
export function comesBack(promise: Promise<unknown>, ms: number, timers: Timers): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = timers.after(ms, () => resolve(false));
    void promise.then(() => {
      timers.cancel(timer);
      resolve(true);
    });
  });
}

export function pause(ms: number, timers: Timers): Promise<void> {
  return new Promise((resolve) => {
    timers.after(ms, resolve);
  });
}
