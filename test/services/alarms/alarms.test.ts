/** Alarms on PostgreSQL through a pool, with real time, a real receiver and two processes' worth of watchers. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAlarms, createOutbox, createRelay, transaction, verifyWebhook, type AlarmNotice } from '@tallystick/reliable';
import { Pool } from 'pg';
import postgres from 'postgres';
import { describe, expect, it, onTestFinished } from 'vitest';
import { limitByHand } from '../support/limit-by-hand.ts';
import { until } from '../support/live.ts';
import { freshDatabase } from '../support/services.ts';
import { silencer } from '../support/silencer.ts';

async function receiver(secret: string) {
  const notices: AlarmNotice[] = [];
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const verified = verifyWebhook({ headers: request.headers, body: Buffer.concat(chunks) }, { secret });
    // An answer that is lost makes a notice come again, the same to the letter: a receiver takes it once.
    if (verified.ok && !notices.some((known) => JSON.stringify(known) === JSON.stringify(verified.notice)))
      notices.push(verified.notice);
    response.statusCode = verified.ok ? 204 : 401;
    response.end();
  }
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, notices };
}

describe('alarms on PostgreSQL', () => {
  it('are not ended by a server that is gone without a word: the check is given up, and the next one has a new connection', async () => {
    const database = await freshDatabase();
    const wire = await silencer(database.url);
    const watched = new Pool({ connectionString: wire.url, max: 4 });
    watched.on('error', () => undefined);
    const pool = new Pool({ connectionString: database.url, max: 1 });
    const told: string[] = [];
    const databaseAfterMs = 123_456;
    const limit = limitByHand(databaseAfterMs);
    wire.onSwallowed = () => limit.strike();
    const alarms = createAlarms({
      db: watched,
      everyMs: 50,
      databaseAfterMs,
      timers: limit.timers,
      onAlarm: ({ kind, event }) => told.push(`${kind} ${event}`),
    });
    onTestFinished(async () => {
      await alarms.stop();
      await watched.end();
      await pool.end();
      await database.drop();
    });
    await alarms.check();
    wire.silence();
    const outbox = createOutbox(pool, { durability: 'trust' });
    await transaction(pool, (tx) => outbox.in(tx).add({ topic: 't', body: 'b' }));
    await pool.query("update tallystick_outbox set state = 'dead'");
    alarms.start();
    await until('the dead message is told', () => told.includes('dead raised'));
  });

  it('of two watchers one tells, once, and the other goes on when the first has gone', async () => {
    const database = await freshDatabase();
    const pool = new Pool({ connectionString: database.url, max: 4 });
    const sql = postgres(database.url, { max: 2 });
    onTestFinished(async () => {
      await pool.end();
      await sql.end();
      await database.drop();
    });
    const there = await receiver('s3cret');
    const webhook = { url: there.url, secret: 's3cret' };
    // Two libraries, as in two services of one database.
    const one = createAlarms({ db: pool, everyMs: 50, webhook });
    const other = createAlarms({ db: sql, everyMs: 50, webhook });
    one.start();
    other.start();
    const relay = createRelay({
      db: pool,
      attemptsMax: 1,
      transport: { publish: async (batch) => batch.map(() => ({ outcome: 'rejected' as const, reason: 'too large' })) },
      onAlarm: one.feed,
    });
    const outbox = createOutbox(pool);
    const add = (key: string) => transaction(pool, async (tx) => outbox.in(tx).add({ topic: 't', key, body: 'b' }));
    const id = await add('k');
    await relay.drain();
    await until('raised', () => there.notices.length >= 2);
    await pool.query('delete from tallystick_outbox where id = $1', [id]);
    await until('cleared', () => there.notices.length >= 4);
    expect(there.notices.map(({ kind, event, value }) => `${kind} ${event} ${value}`)).toEqual([
      'dead raised 1',
      'blocked-keys raised 1',
      'dead cleared 0',
      'blocked-keys cleared 0',
    ]);
    expect(there.notices[0]!.examples).toEqual([{ id, topic: 't', key: 'k', error: 'too large' }]);

    await one.stop();
    await add('l');
    await relay.drain();
    await until('raised by the other', () => there.notices.length >= 6);
    await other.silence(Date.now() + 60_000);
    await add('m');
    await relay.drain();
    await other.check();
    await other.stop();
    await relay.stop();
    expect(there.notices.slice(4).map(({ kind, event }) => `${kind} ${event}`)).toEqual(['dead raised', 'blocked-keys raised']);
  });
});
