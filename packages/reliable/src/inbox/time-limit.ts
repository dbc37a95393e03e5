/**
 * The time a handler may take. What comes back late is a failure, whatever it says: its caller has given it up. A handler that does not
 * even end when its signal is aborted is left behind after a grace; the connection under it must then go to nobody else, because
 * whatever it still writes would be committed on its own.
 */
import type { Timers } from '@tallystick/base';
import { fail } from '../errors.ts';
import { comesBack } from '../waits.ts';

/** How long a handler has to end after its signal. */
const GRACE_MS = 1_000;

export type Limited =
  | { readonly ended: true }
  /** `end` resolves when the handler ends after all. */
  | { readonly ended: false; readonly error: Error; readonly end: Promise<unknown> };

/** `work` is called at once. Resolves when it ended in time; rejects when it failed, or ended late; `ended: false`: it runs on. */
export async function limited(
  work: () => PromiseLike<unknown>,
  timeoutMs: number,
  abort: AbortController,
  timers: Timers,
): Promise<Limited> {
  const running = Promise.resolve(work());
  const quiet = running.catch(() => undefined);
  if (await comesBack(quiet, timeoutMs, timers)) {
    await running;
    return { ended: true };
  }
  const error = fail('HANDLER_TIMEOUT', `${timeoutMs} ms`);
  abort.abort(error);
  if (await comesBack(quiet, GRACE_MS, timers)) throw error;
  return { ended: false, error, end: quiet };
}
