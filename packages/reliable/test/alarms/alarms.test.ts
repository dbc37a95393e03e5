import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { seededRandom } from '@tallystick/base/testing';
import { onTestFinished, describe, expect, test } from 'vitest';
import {
  createAlarms,
  createMonitor,
  createOutbox,
  TOLD_KINDS,
  transaction,
  verifyWebhook,
  type AlarmNotice,
  type Alarms,
  type AlarmsSettings,
} from '../../src/index.ts';
import { backends, connect, rowsOf } from '../support/backends.ts';
import { settle, world, type World } from '../support/world.ts';

function alarmsOf(here: World, backend: (typeof backends)[number], settings: Partial<AlarmsSettings> = {}): Alarms {
  const alarms = createAlarms({
    db: connect(backend, here.path).handle,
    clock: here.time,
    timers: here.time,
    silenceMs: 60_000,
    rules: { 'oldest-unsent': 5000 },
    ...settings,
  });
  onTestFinished(() => alarms.stop());
  return alarms;
}

/** Adds messages that the broker refuses for good. */
async function makeDead(here: World, ...keys: string[]): Promise<string[]> {
  const ids = await here.add(...keys.map((key) => ({ key })));
  here.broker.answer = () => ({ outcome: 'rejected', reason: 'too large' });
  await relayOf(here).drain();
  return ids;
}

const relays = new WeakMap<World, ReturnType<World['relay']>>();
function relayOf(here: World): ReturnType<World['relay']> {
  let relay = relays.get(here);
  if (relay === undefined) relays.set(here, (relay = here.relay({ attemptsMax: 1 })));
  return relay;
}

const told = (notices: readonly AlarmNotice[]) => notices.map(({ kind, event, value }) => `${kind} ${event} ${value}`);

describe.each(backends)('alarms on $name', (backend) => {
  test('are raised once, repeated after the silence, and cleared once', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    expect(await alarms.check()).toEqual([]);
    const [id] = await makeDead(here, 'k');
    const raised = await alarms.check();
    expect(told(raised)).toEqual(['dead raised 1', 'blocked-keys raised 1']);
    expect(raised[0]).toMatchObject({
      alarm: '/dead',
      since: here.time.now(),
      limit: 0,
      sentence: '1 message given up',
      examples: [{ id, topic: 't', key: 'k', error: 'too large' }],
    });
    here.time.advance(59_999);
    expect(await alarms.check()).toEqual([]);
    here.time.advance(1);
    expect(told(await alarms.check())).toEqual(['dead repeated 1', 'blocked-keys repeated 1']);
    here.broker.answer = () => 'confirmed';
    here.app.raw.exec(`update tallystick_outbox set state = 'retrying', due_at = 0`);
    await relayOf(here).drain();
    expect(told(await alarms.check())).toEqual(['dead cleared 0', 'blocked-keys cleared 0']);
    expect(await alarms.check()).toEqual([]);
  });

  test('measure the age of what has not left, and what the consumer has not confirmed', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    await here.add({}, {});
    here.time.advance(5000);
    expect(await alarms.check()).toEqual([]);
    here.time.advance(1);
    expect(told(await alarms.check())).toEqual(['oldest-unsent raised 5001']);
    here.app.raw.exec(`update tallystick_outbox set state = 'delayed', due_at = ${here.time.now() - 7000}`);
    here.time.advance(60_000);
    expect(told(await alarms.check())).toEqual(['oldest-unsent repeated 67000']);
    // Long made, and sent for the first time just now, by a relay whose consumer has an hour.
    const hour = 3_600_000;
    here.app.raw.exec(`update tallystick_outbox set state = 'delayed', due_at = 1, confirm_within = ${hour}`);
    const relay = relayOf(here);
    await relay.drain();
    expect(told(await alarms.check())).toEqual(['oldest-unsent cleared 0']);
    here.time.advance(hour - 1);
    expect(told(await alarms.check())).toEqual([]);
    here.time.advance(1);
    await relay.drain();
    expect(told(await alarms.check())).toEqual([`unconfirmed raised ${hour}`]);
    here.time.advance(hour);
    await relay.drain();
    expect(told(await alarms.check())).toEqual([`unconfirmed repeated ${2 * hour}`]);
  });

  test('tell of messages with nowhere to go, and of what the inbox has given up', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend, { consumers: ['wallet'], rules: { 'inbox-retrying': 0 } });
    await here.add({ topic: 'nowhere' });
    here.broker.answer = () => ({ outcome: 'unroutable', reason: 'no queue is bound' });
    await here.relay({ retryFirstMs: 1000 }).drain();
    expect(told(await alarms.check())).toEqual(['unroutable raised 1']);
    here.app.raw
      .exec(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ('a', 'wallet', 0, 't', 'immediate', 'dead', 16, 16, 0, 1, 1, 0), ('b', 'wallet', 0, 't', 'immediate', 'retrying', 2, 2, 0, 1, 1, 0),
      ('c', 'other', 0, 't', 'immediate', 'dead', 16, 16, 0, 1, 1, 0)`);
    expect(told(await alarms.check())).toEqual([
      'inbox-dead raised 1',
      'inbox-retrying raised 1',
      `inbox-oldest raised ${here.time.now() - 1}`,
    ]);
  });

  test('tell of one received message that fails for long, and of a key behind any number of dead ones without a key', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend, { consumers: ['wallet', 'ledger'], rules: { dead: false } });
    const since = here.time.now();
    const row = (table: string, id: string, channel: string, key: string, state: string, at: number): string =>
      `insert into ${table} (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values (${id}, '${channel}', 0, ${key}, 't', 'immediate', '${state}', 1, 1, 0, ${at}, ${at}, 0)`;
    here.app.raw.exec(row('tallystick_inbox', "'young'", 'wallet', 'null', 'retrying', since + 1000));
    here.app.raw.exec(row('tallystick_inbox', "'old'", 'ledger', 'null', 'retrying', since));
    here.time.advance(900_000);
    expect(await alarms.check()).toEqual([]);
    here.time.advance(1);
    const [oldest, ...more] = await alarms.check();
    expect([told([oldest!]), oldest!.examples[0]!.id, more]).toEqual([['inbox-oldest raised 900001'], 'old', []]);
    here.app.raw.exec('begin');
    for (let n = 0; n < 1001; n++) here.app.raw.exec(row('tallystick_outbox', `'${n}'`, '', 'null', 'dead', since));
    here.app.raw.exec(row('tallystick_outbox', "'keyed'", '', "'k'", 'dead', since));
    here.app.raw.exec('commit');
    const [blocked] = await alarms.check();
    expect([told([blocked!]), blocked!.examples[0]!.id]).toEqual([['blocked-keys raised 1'], 'keyed']);
    const [behind] = await createMonitor(here.app.handle, { clock: here.time }).blockedKeys();
    expect(behind).toMatchObject({ key: 'k', row: { id: 'keyed' } });
  });

  test('do not count the time in which a received message was dead: one that was requeued is given its time again', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend, { consumers: ['wallet'] });
    here.app.raw
      .exec(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ('a', 'wallet', 0, 't', 'immediate', 'dead', 16, 16, 0, 1, 1, 0)`);
    expect(told(await alarms.check())).toEqual(['inbox-dead raised 1']);
    expect(
      await createMonitor(here.app.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time }).retryNow('a'),
    ).toBe(true);
    expect(told(await alarms.check())).toEqual(['inbox-dead cleared 0']);
    here.time.advance(900_001);
    const [oldest] = await alarms.check();
    expect([told([oldest!]), oldest!.sentence]).toEqual([
      ['inbox-oldest raised 900001'],
      expect.stringContaining('has not been handled for'),
    ]);
  });

  test('do not count the time in which a message was dead: one that was requeued is given its time again', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    await here.add({});
    here.broker.answer = () => 'rejected';
    await here.relay({ attemptsMax: 1 }).drain();
    expect(told(await alarms.check())).toEqual(['dead raised 1']);
    here.time.advance(1_000_000);
    await createMonitor(here.app.handle, { clock: here.time }).act('requeue', {}, { execute: true });
    expect(told(await alarms.check())).toEqual(['dead cleared 0']);
    here.time.advance(5001);
    expect(told(await alarms.check())).toEqual(['oldest-unsent raised 5001']);
  });

  test('watch calls as they watch messages', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    here.app.raw
      .exec(`insert into tallystick_call (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ('a', '', 0, 'https://pay', 'immediate', 'dead', 16, 16, 0, 1, 1, 0), ('b', '', 0, 'https://pay', 'immediate', 'waiting', 0, 0, 0, 1, 1, 0)`);
    expect((await alarms.check()).map(({ kind }) => kind)).toEqual(['oldest-call', 'calls-dead']);
  });

  test('say nothing while they are silenced, and speak when the silence ends', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    const other = alarmsOf(here, backend);
    await other.silence(here.time.now() + 10_000, 'dead');
    await makeDead(here, 'k');
    expect(told(await alarms.check())).toEqual(['blocked-keys raised 1']);
    here.time.advance(10_000);
    expect(told(await alarms.check())).toEqual(['dead raised 1']);
    await other.silence(here.time.now() + 1e9);
    here.time.advance(60_000);
    expect(await alarms.check()).toEqual([]);
  });

  test.each([
    ['what it has told', 'alarm:', ['dead raised 1', 'blocked-keys raised 1', 'dead raised 1', 'blocked-keys raised 1']],
    [
      'that it shall be silent',
      'alarm-silence:',
      ['dead raised 1', 'blocked-keys raised 1', 'dead repeated 1', 'blocked-keys repeated 1'],
    ],
    ['nothing', 'none:', ['dead raised 1', 'blocked-keys raised 1']],
  ])('a watcher that forgets %s is found out', async (_, forgotten, heard) => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    await makeDead(here, 'k');
    const notices = [...(await alarms.check())];
    await alarms.silence(here.time.now() + 1e9);
    // Past the quiet time of the first notice where only the silence keeps it quiet.
    if (forgotten === 'alarm-silence:') here.time.advance(60_000);
    here.app.raw.exec(`delete from tallystick_lease where scope like '${forgotten}%'`);
    if (forgotten === 'alarm:') await alarms.silence(0);
    notices.push(...(await alarms.check()));
    expect(told(notices)).toEqual(heard);
  });

  test('are silenced by a kind that there is; another is refused with those there are', async () => {
    const here = await world(backend);
    const alarms = alarmsOf(here, backend);
    await expect(alarms.silence(1, 'daed')).rejects.toThrow(
      /no alarm is of kind "daed"; there are oldest-unsent, dead, .*reported-outage/,
    );
    for (const kind of TOLD_KINDS) await alarms.silence(1, kind);
    expect(rowsOf(here.app.raw, "select scope from tallystick_lease where scope like 'alarm-silence%'")).toHaveLength(
      TOLD_KINDS.length,
    );
  });

  test('are checked by one process, and by another when that one is gone; neither tells what the other has told', async () => {
    const here = await world(backend);
    const one = alarmsOf(here, backend);
    const other = alarmsOf(here, backend);
    await makeDead(here, 'k');
    expect(told(await one.check())).toEqual(['dead raised 1', 'blocked-keys raised 1']);
    here.app.raw.exec('delete from tallystick_outbox');
    expect(await other.check()).toEqual([]);
    here.time.advance(45_000);
    expect(told(await other.check())).toEqual(['dead cleared 0', 'blocked-keys cleared 0']);
    expect(await one.check()).toEqual([]);
    await other.stop();
    expect(rowsOf(here.app.raw, "select owner from tallystick_lease where scope = 'alarms:'")).toEqual([
      expect.objectContaining({ owner: '' }),
    ]);
    await makeDead(here, 'l');
    expect(told(await one.check())).toEqual(['dead raised 1', 'blocked-keys raised 1']);
  });

  test('are not left alone for as long as the clock was set back when who checked has died', async () => {
    const here = await world(backend);
    await alarmsOf(here, backend).check();
    const heir = alarmsOf(here, backend);
    await makeDead(here, 'k');
    expect(await heir.check()).toEqual([]);
    here.app.raw.exec(`update tallystick_lease set expires_at = expires_at + 86400000 where scope = 'alarms:'`);
    expect(told(await heir.check())).toEqual(['dead raised 1', 'blocked-keys raised 1']);
  });

  test('begin by themselves and go on', async () => {
    const here = await world(backend);
    const heard: AlarmNotice[] = [];
    const alarms = alarmsOf(here, backend, { onAlarm: (notice) => heard.push(notice), everyMs: 1000 });
    await makeDead(here, 'k');
    alarms.start();
    here.time.advance(0);
    await settle(here.time);
    expect(told(heard)).toEqual(['dead raised 1', 'blocked-keys raised 1']);
    here.app.raw.exec('delete from tallystick_outbox');
    here.time.advance(1000);
    await settle(here.time);
    expect(told(heard).slice(2)).toEqual(['dead cleared 0', 'blocked-keys cleared 0']);
  });

  test('take what a relay reports, once per kind and silence, and its end', async () => {
    const here = await world(backend);
    const heard: AlarmNotice[] = [];
    const alarms = alarmsOf(here, backend, { onAlarm: (notice) => heard.push(notice) });
    for (let n = 0; n < 3; n++) {
      alarms.feed({ kind: 'outage', reason: 'no connection' });
      alarms.feed({ kind: 'stuck', row: { id: 'i', topic: 't', reason: 'no answer' } });
    }
    alarms.feed({ kind: 'outage-over' });
    alarms.feed({ kind: 'outage-over' });
    await alarms.idle();
    expect(heard.map(({ kind, event, sentence }) => [kind, event, sentence])).toEqual([
      ['reported-outage', 'raised', 'outage: no connection'],
      ['reported-stuck', 'happened', 'stuck: no answer'],
      ['reported-outage', 'cleared', 'over: outage'],
    ]);
    expect(heard[1]!.examples).toEqual([{ id: 'i', topic: 't', key: null, error: 'no answer' }]);
  });

  test('say that the database cannot be asked, when that lasts, and when it is over', async () => {
    const here = await world(backend);
    const heard: AlarmNotice[] = [];
    const alarms = alarmsOf(here, backend, { onAlarm: (notice) => heard.push(notice) });
    here.app.raw.exec('alter table tallystick_lease rename to away');
    for (let check = 0; check < 4; check++) expect(await alarms.check()).toEqual([]);
    here.app.raw.exec('alter table away rename to tallystick_lease');
    await alarms.check();
    expect(heard.map(({ kind, event }) => `${kind} ${event}`)).toEqual(['database raised', 'database cleared']);
  });
});

interface Receiver {
  readonly url: string;
  /** Notices whose signature was right. */
  readonly notices: AlarmNotice[];
  readonly refused: string[];
  /** Status of the next answers; 200 when empty. */
  readonly answers: (number | 'silence')[];
}

/** A receiver as a user would write one. */
async function receiver(secret: string, nowMs: () => number): Promise<Receiver> {
  const notices: AlarmNotice[] = [];
  const refused: string[] = [];
  const answers: (number | 'silence')[] = [];
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const verified = verifyWebhook({ headers: request.headers, body: Buffer.concat(chunks) }, { secret, nowMs: nowMs() });
    const status = answers.shift() ?? 200;
    if (status === 'silence') return;
    if (!verified.ok) refused.push(verified.reason);
    else if (status === 200) notices.push(verified.notice);
    response.statusCode = verified.ok ? status : 401;
    response.end();
  }
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alarms`, notices, refused, answers };
}

describe('the webhook', () => {
  const backend = backends[0]!;

  test('is told what is raised and cleared, signed so that its receiver can tell', async () => {
    const here = await world(backend);
    const there = await receiver('s3cret', () => here.time.now());
    const alarms = alarmsOf(here, backend, { webhook: { url: there.url, secret: 's3cret' } });
    await makeDead(here, 'k');
    for (let check = 0; check < 5; check++) await alarms.check();
    here.app.raw.exec('delete from tallystick_outbox');
    await alarms.check();
    await alarms.idle();
    expect(told(there.notices)).toEqual(['dead raised 1', 'blocked-keys raised 1', 'dead cleared 0', 'blocked-keys cleared 0']);
    const stranger = alarmsOf(here, backend, { webhook: { url: there.url, secret: 'guessed' } });
    stranger.feed({ kind: 'outage', reason: 'invented' });
    await stranger.idle();
    expect([there.notices.length, there.refused]).toEqual([4, ['wrong signature']]);
  });

  test('hears of a volatile message that was given up, from the outbox that lost it', async () => {
    const here = await world(backend);
    const there = await receiver('s', () => here.time.now());
    const alarms = alarmsOf(here, backend, { webhook: { url: there.url, secret: 's' } });
    here.broker.answer = () => ({ outcome: 'rejected', reason: 'too large' });
    const ports = { clock: here.time, timers: here.time, turn: here.time, random: seededRandom(1) };
    const lines: string[] = [];
    const log = (line: string): void => void lines.push(line);
    const { handle } = connect(backend, here.path);
    const outbox = createOutbox(handle, { ...ports, transport: here.broker, log, volatileTries: 1, onAlarm: alarms.feed });
    const id = await transaction(handle, (tx) => outbox.in(tx).add({ topic: 'views', key: 'k', body: 'b', mode: 'volatile' }));
    await settle(here.time);
    await alarms.idle();
    expect(told(there.notices)).toEqual(['reported-lost happened 1']);
    expect(there.notices[0]).toMatchObject({
      sentence: 'lost: too large',
      examples: [{ id, topic: 'views', key: 'k', error: 'too large' }],
    });
    expect([lines.length, TOLD_KINDS.includes('reported-lost')]).toEqual([1, true]);
  });

  test('is tried again a bounded number of times, and what it never took is raised again by the next check', async () => {
    const here = await world(backend);
    const there = await receiver('s', () => here.time.now());
    const lost: string[] = [];
    const alarms = alarmsOf(here, backend, {
      rules: { 'blocked-keys': false },
      webhook: { url: there.url, secret: 's' },
      webhookAttemptsMax: 3,
      onUndelivered: (notice, reason) => lost.push(`${notice.kind} ${reason}`),
    });
    await makeDead(here, 'k');
    there.answers.push(503, 500, 429);
    await alarms.check();
    await passing(here, alarms.idle());
    expect(lost).toEqual(['dead status 429']);
    expect(there.answers).toEqual([]);
    await alarms.idle();
    await alarms.check();
    await alarms.idle();
    expect(told(there.notices)).toEqual(['dead repeated 1']);
  });

  test('that refuses what it understood is not asked again, and one that never answers holds nobody up', async () => {
    const here = await world(backend);
    const there = await receiver('s', () => here.time.now());
    const lost: string[] = [];
    const alarms = alarmsOf(here, backend, {
      rules: { 'blocked-keys': false },
      webhook: { url: there.url, secret: 's' },
      webhookAttemptsMax: 2,
      webhookTimeoutMs: 1000,
      onUndelivered: (_, reason) => lost.push(reason),
    });
    await makeDead(here, 'k');
    there.answers.push(404);
    await alarms.check();
    await passing(here, alarms.idle());
    there.answers.push('silence', 'silence');
    await alarms.check();
    // The check has come back although nobody answers.
    expect(lost).toEqual(['status 404']);
    await passing(here, alarms.idle());
    expect(lost).toEqual(['status 404', 'no answer in time']);
  });

  test('has a bounded queue, and does not survive a stop', async () => {
    const here = await world(backend);
    const there = await receiver('s', () => here.time.now());
    const lost: string[] = [];
    const alarms = alarmsOf(here, backend, {
      webhook: { url: there.url, secret: 's' },
      noticesMax: 1,
      onUndelivered: ({ kind }, reason) => lost.push(`${kind}: ${reason}`),
    });
    there.answers.push('silence');
    for (const kind of ['one', 'two', 'three']) alarms.feed({ kind });
    await settle(here.time);
    expect(lost).toEqual(['reported-three: 1 notices wait already (noticesMax)']);
    await alarms.stop();
    expect(lost.slice(1)).toEqual(['reported-one: stopped', 'reported-two: stopped']);
  });

  test('must be an http address', async () => {
    const here = await world(backend);
    expect(() => alarmsOf(here, backend, { webhook: { url: 'file:///tmp/x', secret: 's' } })).toThrow('must be http: or https:');
  });
});

/** Lets time pass while real requests come and go, until `done`. */
async function passing(here: World, done: Promise<void>): Promise<void> {
  let isDone = false;
  void done.then(() => (isDone = true));
  while (!isDone) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    here.time.advance(100);
  }
}
