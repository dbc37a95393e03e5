import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAlarms, createOutbox, createRelay, migrate, transaction, verifyDurability } from '@tallystick/reliable';
import Database from 'libsql';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { jsonLines, run, start } from './processes.ts';

let folder: string;
let database: string;
let ids: string[];

function open(): InstanceType<typeof Database> {
  const db = new Database(database, { timeout: 5000 });
  verifyDurability(db);
  return db;
}

/** Four messages that were refused for good, two of one key with a third behind them, and one that is planned for later. */
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'message-tables-'));
  database = join(folder, 'shop.db');
  const db = open();
  migrate(db);
  const outbox = createOutbox(db);
  const relay = createRelay({
    db: open(),
    attemptsMax: 1,
    transport: {
      publish: async (batch) => batch.map(() => ({ outcome: 'rejected' as const, reason: 'too large\u001b[2J for the queue' })),
    },
  });
  ids = [
    { topic: 'orders', key: 'ann', body: 'one apple', headers: { colour: 'red' } },
    { topic: 'orders', key: 'bob', body: Buffer.from([0, 1, 2]) },
    { topic: 'orders', key: 'ann', body: 'two apples' },
    { topic: 'bills', body: 'x'.repeat(3000) },
    { topic: 'later', body: '', notBefore: Date.now() + 1e9 },
  ].map((message) => transaction(db, (tx) => outbox.in(tx).add(message)));
  await relay.drain();
  await relay.stop();
  db.close();
  return () => rmSync(folder, { recursive: true, force: true });
});

const outbox = (...args: string[]) => run(['outbox', ...args, '--database', database]);

describe('tallystick outbox', () => {
  it('lists what is in trouble, with its last error on one line and the counts below', { timeout: 60_000 }, async () => {
    const { code, out } = await outbox('list');
    expect(code).toBe(0);
    for (const id of [ids[0]!, ids[1]!, ids[3]!]) expect(out).toContain(id);
    expect(out).not.toContain('\u001b[2J');
    expect(out).toContain('3 shown; in all 1 waiting, 1 delayed, 0 retrying, 3 dead, 0 buried');
    const rows = jsonLines((await outbox('list', '--state', 'dead,delayed', '--topic', 'orders', '--json')).out);
    expect(rows.map(({ id, state, lastOutcome }) => [id, state, lastOutcome])).toEqual([
      [ids[0], 'dead', 'rejected'],
      [ids[1], 'dead', 'rejected'],
    ]);
    expect((await outbox('list', '--limit', '1')).out).toContain('1 shown, and there are more (--limit)');
    expect((await outbox('list', '--blocked')).out).toContain(`ann: 1 behind ${ids[0]}, which is dead: too large`);
  });

  it('shows one message, its body as text or as hex, and no more of it than is asked for', { timeout: 60_000 }, async () => {
    const text = (await outbox('show', ids[0]!)).out;
    expect(text).toMatch(/^topic +orders$/m);
    expect(text).toMatch(/^header +colour: red$/m);
    expect(text).toMatch(/^body +one apple$/m);
    expect((await outbox('show', ids[1]!)).out).toMatch(/^body +\(hex\) 000102$/m);
    const [shown] = jsonLines((await outbox('show', ids[3]!, '--bytes', '5', '--json')).out);
    expect(shown).toMatchObject({ id: ids[3], bodyBytes: 3000, body: { text: 'xxxxx', more: 2995 } });
    expect((await outbox('show', ids[0]!.toLowerCase())).out).toBe(text);
    const absent = await outbox('show', 'nothing');
    expect(absent).toMatchObject({ code: 1, err: expect.stringContaining('there is no message nothing in the outbox of') });
  });

  it('changes nothing until it is told to, and then says of each message what it is now', { timeout: 60_000 }, async () => {
    const plan = await outbox('requeue', '--topic', 'orders');
    expect(plan.out).toContain('would be queued anew: 2 of 2; nothing was changed, add --execute to do it');
    expect((await outbox('list')).out).toContain('3 dead');
    const done = jsonLines((await outbox('requeue', '--topic', 'orders', '--execute', '--json')).out);
    expect(done.map(({ id, from, state, result }) => [id, from, state, result])).toEqual([
      [ids[0], 'dead', 'retrying', 'changed'],
      [ids[1], 'dead', 'retrying', 'changed'],
    ]);
    const buried = await outbox('bury', ids[3]!, ids[2]!, 'nothing', '--reason', 'customer left', '--execute');
    expect(buried.code).toBe(1);
    expect(buried.out.split('\n').slice(0, 4)).toEqual([
      `${ids[2]} orders ann: refused, waiting (a message that is waiting cannot be buried)`,
      `${ids[3]} bills: dead → buried`,
      'nothing: refused, absent (there is no such message; it may have left)',
      '1 of 3 buried',
    ]);
    const again = await outbox('retry', ids[0]!, '--execute');
    expect(again).toMatchObject({ code: 0, out: expect.stringContaining('retrying → retrying') });
  });

  it('sends in the order of each key what was requeued', { timeout: 60_000 }, async () => {
    await outbox('requeue', '--state', 'dead', '--execute');
    const sent: string[] = [];
    const relay = createRelay({
      db: open(),
      transport: {
        publish: async (batch) => {
          sent.push(...batch.map(({ id }) => id));
          return batch.map(() => ({ outcome: 'confirmed' as const }));
        },
      },
    });
    await relay.drain();
    await relay.stop();
    expect([...sent].sort()).toEqual([...ids.slice(0, 4)].sort());
    expect(sent.indexOf(ids[0]!)).toBeLessThan(sent.indexOf(ids[2]!));
    expect((await outbox('list')).out).toContain('0 shown');
  });

  it('warns of messages that are older than receivers remember', { timeout: 60_000 }, async () => {
    const db = open();
    db.exec(`update tallystick_outbox set created_at = created_at - ${40 * 86_400_000} where id = '${ids[0]}'`);
    db.close();
    expect((await outbox('requeue', ids[0]!)).out).toContain('it is 40 days old, and receivers keep keys for 30 days');
    expect((await outbox('requeue', ids[0]!, '--keys-kept', '60d')).out).not.toContain('days old');
  });

  it.each([
    [['requeue', '--execute'], 2, 'without any choice would change every message'],
    [['bury', 'x'], 2, '--reason'],
    [['list', '--state', 'lost'], 2, 'Allowed choices are waiting'],
    [['list', '--older-than', 'soon'], 2, 'must be a time as 90s'],
    [['list', '--schema', 'public'], 2, 'SQLite has no schemas'],
  ])('refuses %j', async (args, code, text) => {
    const ended = await outbox(...args);
    expect(ended.code).toBe(code);
    expect(ended.err).toContain(text);
    expect(ended.err).not.toContain('    at ');
  });
});

describe('tallystick inbox', () => {
  it('finds what a consumer has received and given up, and lets it be tried again', { timeout: 60_000 }, async () => {
    const db = open();
    const insert =
      db.prepare(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, last_outcome, last_error, due_at,
      created_at, changed_at, body_bytes, started) values (?, 'wallet', 0, 'orders', 'immediate', 'dead', 16, 16, 'failed', 'no such account', 0, 1, 1, 2, 16)`);
    const old = '018BCFE5680072F380B349C98706C4EB';
    insert.run([old]);
    db.exec(`insert into tallystick_inbox_body values ('${old}', 'wallet', null, x'6869')`);
    db.close();
    const inbox = (...args: string[]) => run(['inbox', ...args, '--consumer', 'wallet', '--database', database]);
    expect((await inbox('list')).out).toContain('failed: no such account');
    expect((await run(['inbox', 'list', '--database', database])).out).toContain('0 shown');
    expect((await inbox('show', old.toLowerCase())).out).toMatch(/^body +hi$/m);
    const foreign = old.toLowerCase();
    const theirs = open();
    theirs.exec(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ('${foreign}', 'wallet', 1, 'theirs', 'deferred', 'dead', 1, 1, 0, 0, 0, 0)`);
    theirs.close();
    expect((await inbox('show', foreign)).out).toMatch(/^topic +theirs$/m);
    expect((await inbox('bury', foreign, '--reason', 'x')).out).toContain(`${foreign} theirs: dead`);
    expect((await inbox('show', old)).out).toMatch(/^body +hi$/m);
    const done = await inbox('requeue', '--error', 'no such', '--execute');
    expect(done.out).toContain(`${old} orders: dead → retrying`);
    expect(done.out).toContain('(keepKeysMs)');
    const [row] = jsonLines((await inbox('show', old, '--json')).out);
    expect(row).toMatchObject({ state: 'retrying', attempts: 0, tries: 0, started: 0 });
  });

  it('says whose messages it lists when others have some too', { timeout: 60_000 }, async () => {
    const db = open();
    const insert = db.prepare(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, due_at,
      created_at, changed_at, body_bytes) values (?, ?, 0, 'orders', 'immediate', ?, 0, 0, 0, 0, 0, 0)`);
    const list = (...args: string[]) => run(['inbox', 'list', ...args, '--database', database]);
    insert.run(['1', '', 'dead']);
    expect((await list()).out).not.toContain('--consumer');
    insert.run(['2', 'wallet', 'dead']);
    insert.run(['3', 'wallet', 'done']);
    insert.run(['4', 'mail', 'done']);
    db.close();
    const others = 'only those of no consumer; there are also those of --consumer mail, --consumer wallet';
    expect((await list()).out).toContain(others);
    expect((await list('--blocked')).out).toContain(others);
    const json = await list('--json');
    expect(jsonLines(json.out).map(({ id }) => id)).toEqual(['1']);
    expect(jsonLines(json.err)).toEqual([{ consumer: '', others: ['mail', 'wallet'] }]);
    expect((await list('--consumer', 'wallet')).out).not.toContain('--consumer');
    expect((await list('--consumer', 'walet')).out).toContain(
      'walet has none; there are those of --consumer mail, --consumer wallet',
    );
  });
});

describe.each([
  ['outbox', 'tallystick_outbox'],
  ['calls', 'tallystick_call'],
])('tallystick %s', (name, table) => {
  it('says of which channels there are messages that it does not list', { timeout: 60_000 }, async () => {
    const db = open();
    const insert = db.prepare(`insert into ${table} (id, channel, shard, topic, mode, state, attempts, tries, due_at,
      created_at, changed_at, body_bytes) values (?, ?, 0, 'orders', 'immediate', ?, 0, 0, 0, 0, 0, 0)`);
    const list = (...args: string[]) => run([name, 'list', ...args, '--database', database]);
    insert.run(['1', '', 'dead']);
    expect((await list()).out).not.toContain('--channel');
    insert.run(['2', 'shop', 'dead']);
    insert.run(['3', 'shop', 'waiting']);
    insert.run(['4', 'bank', 'waiting']);
    db.close();
    const others = 'only those of no channel; there are also those of --channel bank, --channel shop';
    expect((await list()).out).toContain(others);
    expect((await list('--blocked')).out).toContain(others);
    const json = await list('--json');
    expect(jsonLines(json.out).map(({ id }) => id)).toContain('1');
    expect(jsonLines(json.err)).toEqual([{ channel: '', others: ['bank', 'shop'] }]);
    expect((await list('--channel', 'shop')).out).not.toContain('--channel');
    expect((await list('--channel', 'shp')).out).toContain('shp has none; there are those of --channel bank, --channel shop');
  });
});

describe('tallystick alarms', () => {
  it('are silenced for every process that watches the database', { timeout: 60_000 }, async () => {
    const db = open();
    const told = async (): Promise<string[]> => {
      const alarms = createAlarms({ db, silenceMs: 0 });
      const notices = await alarms.check();
      await alarms.stop();
      return notices.map(({ kind }) => kind);
    };
    expect(await told()).toEqual(['dead', 'blocked-keys']);
    const silenced = await run(['alarms', 'silence', 'dead', '--for', '1h', '--database', database]);
    expect(silenced).toMatchObject({ code: 0, out: expect.stringContaining('dead is silent until 2') });
    expect(await told()).toEqual(['blocked-keys']);
    await run(['alarms', 'silence', 'dead', '--for', '0s', '--database', database]);
    await run(['alarms', 'silence', '--for', '0s', '--database', database]);
    expect(await told()).toEqual(['dead', 'blocked-keys']);
    expect((await run(['alarms', 'silence', '--database', database])).code).toBe(2);
    const unknown = await run(['alarms', 'silence', 'daed', '--for', '1h', '--database', database]);
    expect(unknown).toMatchObject({ code: 2, err: expect.stringContaining('no alarm is of kind "daed"') });
    for (const kind of ['oldest-unsent', 'inbox-dead', 'reported-outage', 'database']) expect(unknown.err).toContain(kind);
    expect((await run(['alarms', 'silence', 'reported-outage', '--for', '0s', '--database', database])).code).toBe(0);
  });
});

describe('the database of a command', () => {
  it('is taken from the environment when it is not named', { timeout: 60_000 }, async () => {
    const { ended } = start(['outbox', 'list'], undefined, { DATABASE_URL: `sqlite:${database}` });
    expect(await ended).toMatchObject({ code: 0, out: expect.stringContaining('3 shown') });
    const nameless = await start(['outbox', 'list'], undefined, { DATABASE_URL: '' }).ended;
    expect(nameless).toMatchObject({ code: 2, err: expect.stringContaining('give --database URL, or set DATABASE_URL') });
  });

  it.each([
    ['nowhere.db', 2, 'there is no file'],
    ['mysql://me@here/db', 2, 'mysql: is not a database that is known here'],
    ['postgres://me:s3cret@127.0.0.1:1/db', 69, 'postgres://me:***@127.0.0.1:1/db: connect ECONNREFUSED'],
  ])('%s is refused with a sentence that keeps the password', { timeout: 60_000 }, async (url, code, text) => {
    const ended = await run(['outbox', 'list', '--database', url]);
    expect(ended.code).toBe(code);
    expect(ended.err).toContain(text);
    expect(ended.err).not.toContain('s3cret');
    expect(ended.err).not.toContain('    at ');
  });

  it('without tables, or with a file that is no database, is said to be so', { timeout: 60_000 }, async () => {
    const empty = join(folder, 'empty.db');
    new Database(empty).exec('create table other (id text)');
    expect((await run(['outbox', 'list', '--database', empty])).err).toContain(
      'has no tables of tallystick; make them: tallystick migrate',
    );
    const text = join(folder, 'text.db');
    writeFileSync(text, 'this is no database, only a long enough text '.repeat(50));
    expect((await run(['outbox', 'list', '--database', text])).err).toContain('is no SQLite database');
  });

  it('is not made in a folder that is not there', { timeout: 60_000 }, async () => {
    const ended = await run(['migrate', '--database', join(folder, 'absent', 'new.db')]);
    expect(ended).toMatchObject({ code: 2, err: expect.stringContaining('there is no folder') });
    expect(ended.err).not.toContain('    at ');
  });

  it('needs a driver for PostgreSQL in the project, and says which', { timeout: 60_000 }, async () => {
    const bare = mkdtempSync(join(tmpdir(), 'no-driver-'));
    const { ended } = start(['outbox', 'list', '--database', 'postgres://me@127.0.0.1:1/db'], undefined, {}, bare);
    expect(await ended).toMatchObject({ code: 2, err: expect.stringContaining('npm install pg') });
    rmSync(bare, { recursive: true });
  });
});

describe('tallystick migrate', () => {
  let own: string;
  beforeAll(() => {
    own = mkdtempSync(join(tmpdir(), 'migrate-'));
  });
  afterAll(() => rmSync(own, { recursive: true }));

  it('prints what it would run and touches nothing; what is printed makes the same tables', { timeout: 60_000 }, async () => {
    const path = join(own, 'new.db');
    const plan = await run(['migrate', '--database', path, '--dry-run']);
    expect(plan.code).toBe(0);
    expect(existsSync(path)).toBe(false);
    const byHand = new Database(join(own, 'hand.db'));
    byHand.exec(plan.out);
    byHand.close();
    expect((await run(['migrate', '--database', join(own, 'hand.db'), '--json'])).out).toContain('"from":2,"to":2');

    const made = await run(['migrate', '--database', path]);
    expect(made).toMatchObject({ code: 0, out: `${path}: version 0 → 2\n` });
    expect(readFileSync(path).subarray(0, 6).toString()).toBe('SQLite');
    expect((await run(['migrate', '--database', path])).out).toContain('is at version 2: nothing to do');
    expect((await run(['migrate', '--database', path, '--dry-run'])).out).toContain('nothing to do');
    expect((await run(['outbox', 'list', '--database', path])).out).toContain('0 shown');
  });
});
