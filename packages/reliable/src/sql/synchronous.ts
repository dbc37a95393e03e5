import { fail } from '../errors.ts';

/** What guards synchronous handles against asynchronous work, whose transaction would end at the first await. */

/** Throws ASYNC_IN_SYNC if `value` is a promise; its own later failure has this error as its report. */
export function refusePromise(value: unknown): void {
  const then = (value as { then?: unknown } | null | undefined)?.then;
  if (typeof then !== 'function') return;
  then.call(value, undefined, () => undefined);
  throw fail('ASYNC_IN_SYNC', 'the work returned a promise');
}

const AsyncFunction = (async () => undefined).constructor;

/** Refuses before anything ran, where the function says that it is asynchronous. */
export function refuseAsyncFunction(fn: unknown): void {
  if (fn instanceof AsyncFunction) throw fail('ASYNC_IN_SYNC', 'the work is an async function');
}
