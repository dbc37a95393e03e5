/**
 * The first two guards as bank B uses them: a lock on the branch, whose total is read and written back under it, and a look into the journal.
 * And the ways to get each of them wrong. The third, the unique key, is the package's own.
 */
import type { Delivery, HandleSettings } from '@tallystick/reliable';
import type pg from 'pg';
import { branchOf, isCredited, type TransferMessage } from '../bank.ts';
import type { ChildOptions, Line } from './line.ts';
import type { Asked } from './watch-queries.ts';

export const LOCK_TAKEN = /^insert into "tallystick_lease"/i;
export const FENCE = /^delete from "tallystick_lease"/i;

/** `beside`: not in the handler's transaction. */
export function guardsOf(
  { branches, leaseMs, defect }: ChildOptions,
  line: Line,
  beside: pg.Pool,
  messageOf: (delivery: Delivery) => TransferMessage,
): HandleSettings<pg.PoolClient> {
  if (branches === 0) return {};
  return {
    lock: (delivery) =>
      defect === 'lock-too-fine' ? `message-${delivery.id}` : `branch-${branchOf(messageOf(delivery).account, branches)}`,
    lockHoldMs: leaseMs,
    alreadyDone: async (tx, delivery) => {
      const { number } = messageOf(delivery);
      await line.reached('key-written', number, delivery.id);
      const isDone = await looked(tx, delivery.id);
      if (isDone) line.count('already-done');
      else await line.reached('looked', number, delivery.id);
      return isDone;
    },
  };

  async function looked(tx: pg.PoolClient, serial: string): Promise<boolean> {
    if (defect === 'effect-not-looked-for') return false;
    return (defect === 'done-before-commit' && (await isNoted(beside, serial))) || isCredited(tx, serial);
  }
}

/** The defect: "done" is noted when the effect is written, on another connection. */
export async function noteAsDone(beside: pg.Pool, serial: string): Promise<void> {
  await beside.query('insert into noted_as_done (serial) values ($1) on conflict do nothing', [serial]);
}

async function isNoted(beside: pg.Pool, serial: string): Promise<boolean> {
  const { rowCount } = await beside.query('select 1 from noted_as_done where serial = $1', [serial]);
  return rowCount === 1;
}

/** Among all who write leases. */
export function isLockTaken({ values, changes }: Asked): boolean {
  return changes === 1 && values.some((value) => typeof value === 'string' && value.startsWith('lock:'));
}
