/** What an inbox need not know any more leaves its tables, one bounded step at a time: old keys, old locks, and what was buried long ago. */
import type { Clock } from '@tallystick/base';
import { forgetBuried } from '../buried.ts';
import type { InboxOptions } from '../options.ts';
import type { InboxDatabase } from './inbox-database.ts';
import type { InboxTable } from './inbox-table.ts';
import { forgetLocks } from './locks.ts';

interface ForgettingPorts<Tx> {
  readonly clock: Clock;
  readonly database: InboxDatabase<Tx>;
  readonly table: InboxTable<Tx>;
  readonly options: InboxOptions;
  readonly counters: { forgotten: number };
}

/** Answers whether there is more to forget. */
export async function forgetOld<Tx>({ clock, database, table, options, counters }: ForgettingPorts<Tx>): Promise<boolean> {
  const { consumer: channel, keepKeysMs, keepBuriedMs, forgetRows: rowsMax } = options;
  const keys = await database.atomically(table.forget(keepKeysMs, rowsMax));
  counters.forgotten += keys;
  // A buried row is its message's key, too: without it a repeat would be handled.
  const olderThanMs = Math.max(keepBuriedMs, keepKeysMs);
  const old = { table: 'tallystick_inbox', channel, olderThanMs, rowsMax } as const;
  const buried = await database.atomically(forgetBuried(database.dialect, clock, old));
  await database.alone(forgetLocks(database.dialect, clock.now(), LOCKS_KEPT_MS));
  return Math.max(keys, buried) >= rowsMax;
}

/** A lock's row that long after its end has no holder any more that could come back. */
const LOCKS_KEPT_MS = 86_400_000;
