/**
 * A service at its own steady pace, whatever else goes on: a small transaction with a message, again and again, and how long each took from
 * the moment it was due, so that one that is held up shows in those behind it, too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createOutbox, transaction } from '@tallystick/reliable';
import pg from 'pg';
import type { ChildOptions, Line } from './line.ts';

const PACE_MS = 10;
const KEYS = 50;
/** Its numbers begin behind every other's. */
const FIRST_NUMBER = 100_000_000;

export async function runService(options: ChildOptions, line: Line): Promise<void> {
  const pool = new pg.Pool({ connectionString: options.a, max: 4 });
  pool.on('error', () => undefined);
  const outbox = createOutbox(pool, { mode: 'deferred' });
  let stopping = false;
  line.onStop = () => (stopping = true);
  line.ready();
  let dueMs = performance.now();
  for (let number = FIRST_NUMBER; !stopping; number++) {
    dueMs += PACE_MS;
    await sleep(Math.max(0, dueMs - performance.now()));
    await transaction(pool, async (tx) => {
      await tx.query('update account set changes = changes where id = (select min(id) from account)');
      await outbox.in(tx).add({ topic: options.topic, key: `service-${number % KEYS}`, body: JSON.stringify({ number }) });
    });
    line.took(performance.now() - dueMs);
  }
  await pool.end();
  process.exit(0);
}
