/** A consumer's database on PostgreSQL, with accounts and a journal of effects, and inboxes over pools of their own. */
import { Pool, type PoolClient } from 'pg';
import { onTestFinished } from 'vitest';
import { createInbox, createOutbox, type Delivery, type Inbox, type InboxAlarm, type InboxSettings } from '@tallystick/reliable';
import { freshDatabase } from '../support/services.ts';

export interface Bank {
  readonly url: string;
  readonly pool: Pool;
  readonly alarms: InboxAlarm[];
  /** An inbox as another process would have it: over a pool of its own (`pooled`: through pgbouncer); stopped when the test ends. */
  inbox(settings?: InboxSettings & { readonly pooled?: boolean }, prepare?: (pool: Pool) => void): Promise<Inbox<Pool>>;
  /** The first column of every row, as texts. */
  rows(query: string): Promise<string[]>;
}

export async function bank(): Promise<Bank> {
  const database = await freshDatabase();
  const ends: (() => Promise<unknown>)[] = [() => database.drop()];
  onTestFinished(async () => {
    for (const end of ends.reverse()) await end();
  });
  const open = (max: number, connectionString = database.url): Pool => {
    const pool = new Pool({ connectionString, max });
    // A connection that is cut while it is idle is no news here.
    pool.on('error', () => undefined);
    ends.push(() => pool.end());
    return pool;
  };
  const pool = open(4);
  await pool.query(`create table account (id text primary key, balance integer not null, version integer not null default 0);
    create table effect (name text not null, amount integer not null default 0)`);
  const alarms: InboxAlarm[] = [];
  return {
    url: database.url,
    pool,
    alarms,
    async inbox({ pooled = false, ...settings } = {}, prepare) {
      const own = open(settings.retriesAtOnce ?? 4, pooled ? database.pooledUrl : database.url);
      prepare?.(own);
      const inbox = createInbox(own, {
        consumer: 'wallet',
        outbox: createOutbox(own),
        onAlarm: (alarm) => alarms.push(alarm),
        sweepIntervalMs: 50,
        retryFirstMs: 20,
        ...settings,
      });
      ends.push(() => inbox.stop());
      return inbox;
    },
    async rows(query) {
      const { rows } = await pool.query<{ value: string }>(`select value::text from (${query}) as asked (value)`);
      return rows.map(({ value }) => value);
    },
  };
}

export type Tx = PoolClient;

export function delivery(id: string, given: Partial<Delivery> = {}): Delivery {
  return { id, topic: 'payments', type: 'debit', headers: new Map(), body: Buffer.from('{}'), redelivered: false, ...given };
}

/** Rows of the inbox in a line each. */
export const ROWS = `select id || ' ' || state || ' ' || attempts || '/' || tries || '/' || started || ' ' || coalesce(last_outcome, '-')
  from tallystick_inbox order by sequence`;

/** Waits for something that will be true; fails with what there is when it is not. */
export async function eventually<T>(ask: () => T | Promise<T>, fits: (value: T) => boolean, withinMs = 60_000): Promise<T> {
  const until = Date.now() + withinMs;
  for (;;) {
    const value = await ask();
    if (fits(value)) return value;
    if (Date.now() > until) throw new Error(`still not so after ${withinMs} ms: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
