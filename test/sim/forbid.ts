/**
 * Takes time, randomness and the real event loop away from the code that runs inside a schedule: whoever reaches past its ports
 * fails at once, by name. Schedules are synchronous, so nothing else runs meanwhile.
 */
import { webcrypto } from 'node:crypto';

interface Place {
  readonly owner: object;
  readonly key: string;
  readonly name: string;
}

const PLACES: readonly Place[] = [
  { owner: Date, key: 'now', name: 'Date.now' },
  { owner: Math, key: 'random', name: 'Math.random' },
  { owner: performance, key: 'now', name: 'performance.now' },
  { owner: process, key: 'hrtime', name: 'process.hrtime' },
  { owner: process, key: 'nextTick', name: 'process.nextTick' },
  { owner: webcrypto, key: 'getRandomValues', name: 'crypto.getRandomValues' },
  { owner: webcrypto, key: 'randomUUID', name: 'crypto.randomUUID' },
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'fetch'].map((key) => ({
    owner: globalThis,
    key,
    name: key,
  })),
];

/** Runs `schedule` with throwing stubs in the place of the globals, and puts the globals back. */
export function withoutTheRealWorld<T>(schedule: () => T): T {
  const restores: (() => void)[] = [];
  try {
    for (const place of PLACES) restores.push(replace(place));
    return schedule();
  } finally {
    for (const restore of restores.reverse()) restore();
  }
}

function replace({ owner, key, name }: Place): () => void {
  const before = Object.getOwnPropertyDescriptor(owner, key);
  const value = (): never => {
    throw new Error(`${name} called inside a simulated schedule: core code must use its ports`);
  };
  Object.defineProperty(owner, key, { configurable: true, writable: true, value });
  return () => {
    if (before === undefined) Reflect.deleteProperty(owner, key);
    else Object.defineProperty(owner, key, before);
  };
}
