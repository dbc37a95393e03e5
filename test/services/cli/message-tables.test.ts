/** The commands for outbox, inbox and migrations on PostgreSQL, with each driver that a project may have, behind pgbouncer, and in a schema of one's own. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createOutbox, createRelay, transaction } from '@tallystick/reliable';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonLines, start, type Ended } from '../../../packages/cli/test/processes.ts';
import { emptyDatabase, freshDatabase, withClient, type FreshDatabase } from '../support/services.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
mkdirSync(join(root, '.tmp'), { recursive: true });

/** A project that has this driver and no other. */
function projectWith(driver: string): string {
  const folder = mkdtempSync(join(root, '.tmp', `cli-${driver}-`));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(root, 'node_modules', driver), join(folder, 'node_modules', driver));
  return folder;
}

describe.each(['pg', 'postgres'])('with %s in the project', (driver) => {
  let database: FreshDatabase;
  let folder: string;
  let ids: string[];

  const cli = (...args: string[]): Promise<Ended> => start(args, undefined, { DATABASE_URL: database.url }, folder).ended;

  beforeAll(async () => {
    folder = projectWith(driver);
    database = await freshDatabase();
    const pool = new Pool({ connectionString: database.url });
    const outbox = createOutbox(pool);
    ids = await transaction(pool, async (tx) => {
      const added: string[] = [];
      for (const message of [
        { topic: 'orders', key: 'ann', body: 'one apple', headers: { colour: 'red' } },
        { topic: 'orders', key: 'ann', body: 'two apples' },
        { topic: 'bills', body: Buffer.from([0, 255]) },
      ])
        added.push(await outbox.in(tx).add(message));
      return added;
    });
    const relay = createRelay({
      db: pool,
      attemptsMax: 1,
      transport: { publish: async (batch) => batch.map(() => ({ outcome: 'rejected' as const, reason: 'too large' })) },
    });
    await relay.drain();
    await relay.stop();
    await pool.end();
  });
  afterAll(async () => {
    await database.drop();
    rmSync(folder, { recursive: true });
  });

  it('lists, shows, plans, does and reads back', async () => {
    const listed = await cli('outbox', 'list');
    expect(listed).toMatchObject({ code: 0, err: '' });
    expect(listed.out).toContain('2 shown; in all 1 waiting, 0 delayed, 0 retrying, 2 dead');
    expect((await cli('outbox', 'list', '--blocked')).out).toContain(`ann: 1 behind ${ids[0]}`);
    expect((await cli('outbox', 'show', ids[2]!)).out).toMatch(/^body +\(hex\) 00ff$/m);
    expect((await cli('outbox', 'show', ids[0]!)).out).toMatch(/^header +colour: red$/m);
    expect((await cli('outbox', 'requeue', '--topic', 'orders')).out).toContain('would be queued anew: 1 of 1');
    const buried = jsonLines((await cli('outbox', 'bury', '--topic', 'bills', '--reason', 'wrong', '--execute', '--json')).out);
    expect(buried).toMatchObject([{ id: ids[2], from: 'dead', state: 'buried', result: 'changed' }]);
    const queued = await cli('outbox', 'requeue', ids[0]!, '--execute');
    expect(queued).toMatchObject({ code: 0, out: `${ids[0]} orders ann: dead → retrying\n1 of 1 queued anew\n` });
    expect((await cli('inbox', 'list')).out).toContain('0 shown');
  });

  it('works behind pgbouncer too', async () => {
    const { ended } = start(['outbox', 'list', '--database', database.pooledUrl, '--json'], undefined, {}, folder);
    expect(await ended).toMatchObject({ code: 0, err: '' });
  });

  it('says what is wrong with an URL, without its password', async () => {
    const wrong = new URL(database.url);
    wrong.password = 's3cret';
    const refused = await cli('outbox', 'list', '--database', wrong.href);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('password authentication failed');
    const absent = new URL(database.url);
    absent.pathname = '/absent';
    const nowhere = await cli('outbox', 'list', '--database', absent.href);
    expect(nowhere.err).toContain('correct user, password, database or sslmode in the URL');
    const nameless = new URL(database.url);
    nameless.password = '';
    expect((await cli('outbox', 'list', '--database', nameless.href)).code).toBe(1);
    const secure = new URL(database.url);
    secure.searchParams.set('sslmode', 'require');
    expect((await cli('outbox', 'list', '--database', secure.href)).err).toMatch(/SSL|certificate|ECONNRESET/);
    expect(refused.err + nowhere.err).not.toMatch(/s3cret|    at /);
  });
});

describe('migrations from the command line', () => {
  it('print what they would do, do it, in a schema of its own too, and find it done', async () => {
    const database = await emptyDatabase();
    const cli = (...args: string[]): Promise<Ended> => start([...args, '--database', database.url]).ended;
    try {
      expect((await cli('outbox', 'list')).err).toContain('has no tables of tallystick; make them: tallystick migrate');
      const plan = await cli('migrate', '--dry-run');
      expect(plan.code).toBe(0);
      const tables = () =>
        withClient(database.url, async (client) => {
          const { rows } = await client.query<{ name: string }>(
            "select schemaname || '.' || tablename as name from pg_tables where tablename like 'tallystick%' order by 1",
          );
          return rows.map(({ name }) => name);
        });
      expect(await tables()).toEqual([]);
      expect((await cli('migrate')).out).toMatch(/: version 0 → \d+\n$/);
      expect((await cli('migrate', '--json')).out).toContain('"dryRun":false');
      expect(await tables()).toContain('public.tallystick_outbox');
      expect((await cli('migrate', '--schema', 'messages')).out).toMatch(/, schema messages: version 0 → \d+\n$/);
      expect(await tables()).toContain('messages.tallystick_outbox');
      expect(await cli('outbox', 'list', '--schema', 'messages')).toMatchObject({ code: 0 });
      expect(await cli('outbox', 'list', '--schema', 'absent')).toMatchObject({ code: 1 });
      expect((await cli('outbox', 'list', '--schema', 'x"; drop table y')).code).toBe(2);
    } finally {
      await database.drop();
    }
  });

  it('that are printed make the same tables when they are run by hand', async () => {
    const database = await emptyDatabase();
    try {
      const { out } = await start(['migrate', '--dry-run', '--database', database.url]).ended;
      await withClient(database.url, (client) => client.query(out));
      expect((await start(['migrate', '--database', database.url]).ended).out).toContain('nothing to do');
    } finally {
      await database.drop();
    }
  });
});
