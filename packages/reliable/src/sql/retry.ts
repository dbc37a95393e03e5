/** Runs a whole transaction again when the database gave it up for the sake of another one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '@tallystick/base';
import { systemRandom } from '@tallystick/base/node';
import { member } from './handles/library.ts';
import { sqlStateOf } from './sql-state.ts';

export interface RetryOptions {
  /**
   * How often the whole transaction, `fn` and all, is run again after a serialization failure (40001), a deadlock (40P01), a lock that was
   * not to be had in time (55P03) or a statement that took too long (57014, also one that a person has cancelled), with a growing, jittered
   * wait. Default 0: `fn` must be fit to run twice.
   */
  readonly retries?: number | undefined;
}

export async function again<T>(attempt: () => Promise<T>, { retries = 0 }: RetryOptions): Promise<T> {
  for (let failed = 0; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      if (failed >= Math.min(retries, RETRIES_MAX) || !gaveWay(error)) throw error;
      await sleep(backoffMs(WAIT, failed + 1, random.u32()));
    }
  }
}

const RETRIES_MAX = 100;
const WAIT = { firstMs: 5, maxMs: 1_000 };
const random = systemRandom();

const GAVE_WAY: readonly string[] = ['40001', '40P01', '55P03', '57014'];

/** Prisma has a code of its own for the first two. */
function gaveWay(error: unknown): boolean {
  const state = sqlStateOf(error);
  return GAVE_WAY.includes(state ?? '') || member(error, 'code') === 'P2034';
}
