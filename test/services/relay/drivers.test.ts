/** A relay over other libraries than pg writes down every outcome as well: values travel as each driver sends them. */
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import type { RelaySettings } from '@tallystick/reliable';
import { until } from '../support/live.ts';
import { world } from './support.ts';

const ROOTS: Readonly<Record<string, (url: string) => { readonly db: unknown; end(): Promise<void> }>> = {
  'postgres.js': (url) => {
    const db = postgres(url, { max: 4, onnotice: () => undefined });
    return { db, end: () => db.end() };
  },
  Kysely: (url) => {
    const db = new Kysely<never>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 4 }) }) });
    return { db, end: () => db.destroy() };
  },
};

test.each(Object.keys(ROOTS))('over %s: confirmed, kept, tried again and dead, with what was said of it', async (name) => {
  const here = await world();
  const root = ROOTS[name]!(here.database.url);
  onTestFinished(() => root.end());
  here.broker.answer = ({ body }) => (Buffer.from(body).toString() === 'bad' ? 'rejected' : 'confirmed');
  const relay = here.relay({ db: root.db as RelaySettings['db'], attemptsMax: 2 });
  await here.add({ body: 'good' }, { body: 'bad' }, { body: 'kept', keepMs: 3_600_000 });
  relay.start();
  await until('all is settled', async () => JSON.stringify(await here.states()) === '{"confirmed":1,"dead":1}');
  expect(here.broker.stored.map(({ body }) => Buffer.from(body).toString())).toEqual(['good', 'kept']);
  expect(here.alarms.map(({ kind }) => kind)).toEqual(['dead']);
  await relay.stop();
});

test('over pg with a time limit: what was copied out is not kept until the limit would have struck', async () => {
  const here = await world();
  const pool = new pg.Pool({ connectionString: here.database.url, max: 4, query_timeout: 600_000, allowExitOnIdle: true });
  onTestFinished(() => pool.end());
  const copied: object[] = [];
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (given: unknown, ...rest: unknown[]) => unknown;
    client.query = ((given: unknown, ...rest: unknown[]) => {
      if (typeof given === 'object' && given !== null && 'handleCopyData' in given) copied.push(given);
      return query(given, ...rest);
    }) as typeof client.query;
  });
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  for (let i = 0; i < 20; i++) await here.add(...Array.from({ length: 100 }, (_, n) => ({ body: `${i} ${n}` })));
  const before = timers();
  const relay = here.relay({ db: pool, batchRows: 100 });
  await relay.drain();
  expect(await here.left()).toBe(0);
  expect(copied.length).toBeGreaterThan(5);
  await relay.stop();
  expect(timers()).toBeLessThan(before + copied.length / 2);
});
