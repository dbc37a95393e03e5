import type { Timers } from '@tallystick/base';

/** The two waits of a relay, over its timers. */

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
