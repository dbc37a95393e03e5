import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createMonitor, type Alarm, type AsyncHandle, type PublishResult } from '../../src/index.ts';
import { relayStatements } from '../../src/relay/relay-statements.ts';
import { sqlite } from '../../src/sql/sqlite.ts';
import type { SqlValue } from '../../src/sql/statement.ts';
import { backends, connect, lockWriting, onlySqlite, onPostgres, openRaw, rowsOf } from '../support/backends.ts';
import { gate } from '../support/memory-transport.ts';
import { pass, settle, world, type World } from '../support/world.ts';

const texts = ({ broker }: World): string[] => broker.storedTexts;
const kinds = ({ alarms }: World): string[] => alarms.map(({ kind }) => kind);
const leases = ({ app }: World): Record<string, unknown>[] =>
  rowsOf(app.raw, 'select * from tallystick_lease order by first_shard');

/** Drains, letting time pass between, until the outbox is empty or `seconds` are over. */
async function drainFor(here: World, relay: ReturnType<World['relay']>, seconds: number): Promise<void> {
  for (let at = 0; at < seconds && here.states().some((state) => state === 'waiting' || state === 'retrying'); at++) {
    await relay.drain();
    here.time.advance(1000);
  }
}

test.each(backends.filter(({ kind }) => kind === 'async'))(
  'a message that wakes the relay on $name costs one look, more only when there is more',
  async (backend) => {
    const here = await world(backend);
    const handle = connect(backend, here.path).handle as AsyncHandle;
    let looks = 0;
    const db = Object.assign(Object.create(handle) as AsyncHandle, {
      execute(...given: Parameters<AsyncHandle['execute']>) {
        if (given[0].includes('order by h.due_at')) looks++;
        return handle.execute(...given);
      },
    });
    const relay = here.relay({ db, batchRows: 2 });
    relay.start();
    await settle(here.time);
    const looksFor = async (...bodies: string[]): Promise<number> => {
      looks = 0;
      await here.add(...bodies.map((body) => ({ body })));
      relay.wake();
      await settle(here.time);
      return looks;
    };
    expect(await looksFor('1')).toBe(1);
    expect(await looksFor('2')).toBe(1);
    // A full batch does not say that nothing follows.
    expect(await looksFor('3', '4', '5', '6')).toBeGreaterThan(2);
    expect(await looksFor('7', '8', '9')).toBeGreaterThan(1);
    expect(texts(here)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9']);
  },
);

describe.each(backends)('the relay on $name', (backend) => {
  test('publishes a committed message once, whole, and deletes head and body', async () => {
    const here = await world(backend);
    const [id] = await here.add({ body: 'hello', key: 'k', headers: { a: 'b' }, tag: 'x' });
    expect(await here.relay().drain()).toBe(1);
    expect(here.broker.stored).toMatchObject([{ id, topic: 't', key: 'k', tag: 'x', headers: new Map([['a', 'b']]) }]);
    expect(texts(here)).toEqual(['hello']);
    expect(
      rowsOf(
        here.app.raw,
        'select (select count(*) from tallystick_outbox) + (select count(*) from tallystick_outbox_body) as n',
      ),
    ).toEqual([{ n: 0 }]);
  });

  test('is woken by the commit: no time has to pass', async () => {
    const here = await world(backend);
    const relay = here.relay();
    relay.start();
    await settle(here.time);
    await here.add({ body: 'now' });
    relay.wake();
    await settle(here.time);
    expect(texts(here)).toEqual(['now']);
  });

  test('sweeps what nobody woke it for, within one interval', async () => {
    const here = await world(backend);
    const relay = here.relay({ sweepIntervalMs: 500 });
    relay.start();
    await settle(here.time);
    for (const body of ['first', 'second', 'third']) {
      await pass(here.time, 10_000, 500);
      await here.add({ body });
      await pass(here.time, 500);
      expect(texts(here).at(-1)).toBe(body);
    }
  });

  test('a message that fails is tried again under the same id, and keeps its key in order', async () => {
    const here = await world(backend);
    const [first] = await here.add(
      { key: 'k', body: '1' },
      { key: 'k', body: '2' },
      { key: 'other', body: 'o' },
      { body: 'unkeyed' },
    );
    here.broker.answer = ({ body }, push) => (Buffer.from(body).toString() === '1' && push < 4 ? 'rejected' : 'confirmed');
    const relay = here.relay();
    await relay.drain();
    expect(texts(here)).toEqual(['o', 'unkeyed']);
    expect(here.states()).toEqual(['retrying', 'waiting']);
    await drainFor(here, relay, 30);
    expect(texts(here)).toEqual(['o', 'unkeyed', '1', '2']);
    expect(here.broker.pushed.filter((id) => id === first)).toHaveLength(4);
  });

  test('never has two messages of a key in the air', async () => {
    const here = await world(backend);
    await here.add(...Array.from({ length: 30 }, (_, n) => ({ key: `k${n % 3}`, body: `${n}` })));
    await here.relay().drain();
    expect(here.broker.keysTwiceInABatch).toBe(0);
    expect(here.broker.batchSizes).toEqual(Array.from({ length: 10 }, () => 3));
    for (const key of [0, 1, 2]) {
      expect(texts(here).filter((text) => Number(text) % 3 === key)).toEqual(
        Array.from({ length: 10 }, (_, n) => `${n * 3 + key}`),
      );
    }
  });

  test('counts attempts only for failures of the message, not of the broker', async () => {
    const here = await world(backend);
    const [id] = await here.add({});
    const outcomes: PublishResult[] = ['unavailable', 'unknown', 'unroutable', 'unavailable', 'unknown', 'rejected'];
    here.broker.answer = (_message, push) => ({ outcome: outcomes[push - 1] ?? 'confirmed', reason: `push ${push}` });
    const relay = here.relay({ brakeMaxMs: 1000 });
    const seen: string[] = [];
    for (let round = 0; round < 60 && here.broker.pushed.length < 6; round++) {
      const pushes = here.broker.pushed.length;
      await relay.drain();
      const [row] = rowsOf(here.app.raw, 'select attempts, tries, state, last_error from tallystick_outbox where id = ?', id);
      if (here.broker.pushed.length > pushes)
        seen.push(`${outcomes[pushes]} ${String(row!['attempts'])}/${String(row!['tries'])} ${String(row!['last_error'])}`);
      here.time.advance(1000);
    }
    expect(seen).toEqual([
      'unavailable 0/0 null',
      'unknown 0/1 push 2',
      'unroutable 0/2 push 3',
      'unavailable 0/2 push 3',
      'unknown 0/3 push 5',
      'rejected 1/4 push 6',
    ]);
  });

  test('an unroutable message waits for its queue, is never given up, and its route is told once until it has worked', async () => {
    const here = await world(backend);
    await here.add({ topic: 'nowhere', body: '1' }, { topic: 'nowhere', body: '2' }, { body: 'other' });
    here.broker.answer = ({ topic }) => (topic === 'nowhere' ? 'unroutable' : 'confirmed');
    const relay = here.relay({ attemptsMax: 2, stuckAfterTries: 1000 });
    await drainFor(here, relay, 60);
    expect([here.states(), kinds(here), texts(here)]).toEqual([['retrying', 'retrying'], ['unroutable'], ['other']]);
    expect(here.alarms[0]).toMatchObject({ route: 'nowhere', row: { topic: 'nowhere', attempts: 0 } });
    here.broker.answer = () => 'confirmed';
    await drainFor(here, relay, 120);
    await here.add({ topic: 'nowhere' });
    here.broker.answer = () => 'unroutable';
    await relay.drain();
    expect(kinds(here)).toEqual(['unroutable', 'unroutable']);
  });

  test('a message whose consumer must confirm stays as sent, holds nobody up, and leaves again under its id when nobody did', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' });
    here.app.raw.exec(`update tallystick_outbox set confirm_within = 5000 where id = '${id!}'`);
    const relay = here.relay();
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([['sent'], ['1', '2']]);
    here.time.advance(4000);
    expect(await relay.drain()).toBe(0);
    here.time.advance(1001);
    expect(await relay.drain()).toBe(1);
    expect([here.states(), texts(here)]).toEqual([['sent'], ['1', '2', '1']]);
  });

  test('a message whose consumer never confirms is sent confirmAttemptsMax times, then dead, told, and in nobody’s way', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', topic: 'silent', body: '1' });
    here.app.raw.exec(`update tallystick_outbox set confirm_within = 5000`);
    const relay = here.relay({ confirmAttemptsMax: 3 });
    const row = 'select state, started, attempts, last_outcome from tallystick_outbox';
    for (let sent = 1; sent <= 3; sent++) {
      await relay.drain();
      expect(rowsOf(here.app.raw, row)).toEqual([{ state: 'sent', started: sent, attempts: 0, last_outcome: 'confirmed' }]);
      here.time.advance(5001);
    }
    expect(kinds(here)).toEqual([]);
    await relay.drain();
    expect(rowsOf(here.app.raw, row)).toEqual([{ state: 'dead', started: 3, attempts: 0, last_outcome: 'unconfirmed' }]);
    const reason = 'sent 3 times, never confirmed by its consumer (confirmAttemptsMax)';
    expect(here.alarms).toEqual([
      { kind: 'dead', row: { id, topic: 'silent', key: 'k', attempts: 0, tries: 0, outcome: 'unconfirmed', reason } },
    ]);
    here.time.advance(60_000);
    await here.add({ key: 'k', body: '2' });
    await relay.drain();
    expect([texts(here), relay.counters.dead]).toEqual([['1', '1', '1', '2'], 1]);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.blockedKeys()).toEqual([]);
    // A person tries it once more, and then with a fresh account.
    await monitor.act('retry', { ids: [id!] }, { execute: true });
    await relay.drain();
    expect(rowsOf(here.app.raw, row)).toMatchObject([{ state: 'sent', started: 4 }]);
    here.time.advance(5001);
    await relay.drain();
    expect(here.states()).toEqual(['dead']);
    await monitor.retryNow(id!);
    await relay.drain();
    expect(rowsOf(here.app.raw, row)).toMatchObject([{ state: 'sent', started: 1 }]);
    expect(texts(here)).toEqual(['1', '1', '1', '2', '1', '1']);
  });

  test('with confirmAttemptsMax 0 it is sent without end', async () => {
    const here = await world(backend);
    await here.add({});
    here.app.raw.exec(`update tallystick_outbox set confirm_within = 5000, started = 5000, state = 'sent'`);
    expect(await here.relay({ confirmAttemptsMax: 0 }).drain()).toBe(1);
    expect([here.states(), kinds(here)]).toEqual([['sent'], []]);
  });

  test('a settled row is kept without its body for as long as its status may be asked for, and then goes', async () => {
    const here = await world(backend);
    await here.add({ body: '1' }, { body: '2' });
    here.app.raw.exec(`update tallystick_outbox set keep_for = 60000`);
    const relay = here.relay();
    relay.start();
    await pass(here.time, 1000, 100);
    const bodies = 'select count(*) as n from tallystick_outbox_body';
    expect([here.states(), rowsOf(here.app.raw, bodies)]).toEqual([['confirmed', 'confirmed'], [{ n: 0 }]]);
    await pass(here.time, 70_000, 1000);
    expect(here.states()).toEqual([]);
    expect(texts(here)).toEqual(['1', '2']);
  });

  test('a message that fails attemptsMax times is dead: told once, kept with its error, and never pushed again', async () => {
    const here = await world(backend);
    const dead: unknown[] = [];
    const [id] = await here.add({ key: 'k', topic: 'poison' });
    here.broker.answer = () => ({ outcome: 'rejected', reason: 'too large' });
    const relay = here.relay({ attemptsMax: 3, onDead: (row) => dead.push(row) });
    await drainFor(here, relay, 60);
    await relay.drain();
    expect(here.broker.pushed).toHaveLength(3);
    expect(dead).toEqual([{ id, topic: 'poison', key: 'k', attempts: 3, tries: 3, outcome: 'rejected', reason: 'too large' }]);
    expect(kinds(here)).toEqual(['dead']);
    expect(rowsOf(here.app.raw, 'select state, last_outcome, last_error from tallystick_outbox')).toEqual([
      { state: 'dead', last_outcome: 'rejected', last_error: 'too large' },
    ]);
  });

  test('a dead message holds its key until a person retries it, in order', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' }, { body: 'other' });
    here.broker.answer = ({ body }) => (Buffer.from(body).toString() === '1' ? 'rejected' : 'confirmed');
    const relay = here.relay({ attemptsMax: 1 });
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([['dead', 'waiting'], ['other']]);
    here.broker.answer = () => 'confirmed';
    expect(await createMonitor(here.app.handle, { clock: here.time }).retryNow(id!)).toBe(true);
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([[], ['other', '1', '2']]);
  });

  test('a buried message releases its key', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' });
    here.broker.answer = ({ body }) => (Buffer.from(body).toString() === '1' ? 'rejected' : 'confirmed');
    const relay = here.relay({ attemptsMax: 1 });
    await relay.drain();
    expect(await createMonitor(here.app.handle, { clock: here.time }).bury(id!, 'not wanted any more')).toBe(true);
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([['buried'], ['2']]);
  });

  test("with deadKeys 'pass' later messages of the key overtake the dead one", async () => {
    const here = await world(backend);
    await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' });
    here.broker.answer = ({ body }) => (Buffer.from(body).toString() === '1' ? 'rejected' : 'confirmed');
    const relay = here.relay({ attemptsMax: 1, deadKeys: 'pass' });
    await relay.drain();
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([['dead'], ['2']]);
  });

  test('a delayed message leaves when it is due, and holds nobody up before', async () => {
    const here = await world(backend);
    await here.add({ key: 'k', body: 'later', notBefore: here.time.now() + 5000 }, { key: 'k', body: 'now' });
    const relay = here.relay();
    await relay.drain();
    expect([here.states(), texts(here)]).toEqual([['delayed'], ['now']]);
    here.time.advance(4999);
    expect(await relay.drain()).toBe(0);
    here.time.advance(1);
    expect(await relay.drain()).toBe(1);
  });

  test('a message the broker may hold is pushed again until it is confirmed, and is reported as stuck once', async () => {
    const here = await world(backend);
    const [id] = await here.add({});
    here.broker.answer = (_message, push) => (push < 6 ? 'unknown' : 'confirmed');
    const relay = here.relay({ stuckAfterTries: 3, attemptsMax: 2 });
    await drainFor(here, relay, 200);
    expect(here.broker.pushed).toEqual(Array.from({ length: 6 }, () => id));
    expect(kinds(here).filter((kind) => kind !== 'outage' && kind !== 'outage-over')).toEqual(['stuck']);
    expect(here.states()).toEqual([]);
  });

  test('the sweep leaves a push in flight alone for sweepAfterMs, then pushes again', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' });
    const held = gate();
    here.broker.before = () => (here.broker.pushed.length === 1 ? held.promise : undefined);
    const relay = here.relay({ sweepIntervalMs: 100, sweepAfterMs: 3000, retryFirstMs: 100, leaseMs: 60_000 });
    relay.start();
    await pass(here.time, 2900, 100);
    expect(here.broker.pushed).toEqual([id]);
    await pass(here.time, 2000, 100);
    expect(here.broker.pushed.slice(0, 2)).toEqual([id, id]);
    expect(texts(here)).toEqual(['1', '2']);
    held.open();
    await settle(here.time);
    // The late confirmation finds nothing left to delete; the message went twice, under one id.
    expect(texts(here)).toEqual(['1', '2', '1']);
    expect(here.states()).toEqual([]);
  });

  test('a confirmation that comes late deletes the row although its push was given up', async () => {
    const here = await world(backend);
    await here.add({ body: 'slow' });
    const held = gate();
    here.broker.before = () => held.promise;
    const relay = here.relay({
      sweepIntervalMs: 100,
      sweepAfterMs: 1000,
      retryFirstMs: 60_000,
      retryMaxMs: 60_000,
      leaseMs: 600_000,
    });
    relay.start();
    await pass(here.time, 1200, 100);
    expect(here.states()).toEqual(['retrying']);
    held.open();
    await settle(here.time);
    expect(here.states()).toEqual([]);
    expect(here.broker.pushed).toHaveLength(1);
  });

  test('an outage brakes the relay, burns no attempts, is told once, and ends with small batches', async () => {
    const here = await world(backend);
    await here.add(...Array.from({ length: 100 }, (_, n) => ({ body: `${n}` })));
    here.broker.answer = () => ({ outcome: 'unavailable', reason: 'connection refused' });
    const relay = here.relay({ sweepIntervalMs: 100, brakeFirstMs: 200, brakeMaxMs: 5000, leaseMs: 60_000, batchesMax: 1 });
    relay.start();
    await pass(here.time, 60_000, 500);
    // 100 at once, then single probes: 60 s hold about 15 waits of up to 5 s.
    expect(here.broker.batchSizes[0]).toBe(100);
    expect(new Set(here.broker.batchSizes.slice(1))).toEqual(new Set([1]));
    expect(here.broker.batchSizes.length).toBeLessThan(40);
    expect(rowsOf(here.app.raw, 'select sum(attempts) as attempts, sum(tries) as tries from tallystick_outbox')).toEqual([
      { attempts: 0, tries: 0 },
    ]);
    expect(kinds(here)).toEqual(['outage']);
    here.broker.batchSizes.length = 0;
    here.broker.answer = () => 'confirmed';
    await pass(here.time, 6000, 500);
    expect(here.broker.batchSizes.slice(0, 4)).toEqual([1, 2, 4, 8]);
    expect(kinds(here)).toEqual(['outage', 'outage-over']);
    expect(texts(here)).toEqual(Array.from({ length: 100 }, (_, n) => `${n}`));
  });

  test('a relay that dies is replaced after its lease, not before', async () => {
    const here = await world(backend);
    await here.relay({ leaseMs: 10_000 }).drain();
    await here.add({ body: 'orphan' });
    const heir = here.relay({ leaseMs: 10_000 });
    expect(await heir.drain()).toBe(0);
    here.time.advance(9999);
    expect(await heir.drain()).toBe(0);
    here.time.advance(1);
    expect(await heir.drain()).toBe(1);
    expect(new Set(leases(here).map(({ epoch }) => epoch))).toEqual(new Set([2]));
  });

  test('a clock that is set back keeps nobody waiting longer: a dead relay is replaced after its lease, a living one stays', async () => {
    const here = await world(backend);
    const DAY_MS = 86_400_000;
    /** What is there after the clock went back by `ms`, as seen by the rows. */
    const setBack = (ms: number, owner: string): void =>
      void here.app.raw.exec(`update tallystick_lease set expires_at = expires_at + ${ms} where owner = '${owner}'`);
    const dead = here.relay({ leaseMs: 10_000, rangesMax: 8 });
    await dead.drain();
    const alive = here.relay({ leaseMs: 10_000, rangesMax: 8 });
    alive.start();
    await settle(here.time);
    setBack(DAY_MS, dead.owner);
    setBack(DAY_MS, alive.owner);
    const heir = here.relay({ leaseMs: 10_000, sweepIntervalMs: 500 });
    heir.start();
    await pass(here.time, 9_000, 500);
    expect(leases(here).filter(({ owner }) => owner === heir.owner)).toEqual([]);
    await pass(here.time, 2_000, 500);
    const owners = leases(here).map(({ owner }) => owner);
    expect(owners.filter((owner) => owner === heir.owner)).toHaveLength(8);
    expect(owners.filter((owner) => owner === alive.owner)).toHaveLength(8);
    expect(kinds(here)).toEqual([]);
  });

  test('leases are renewed in time however long a backlog keeps the relay claiming', async () => {
    const here = await world(backend);
    await here.add(...Array.from({ length: 40 }, (_, n) => ({ body: `${n}` })));
    const left: number[] = [];
    here.broker.answer = () => {
      here.time.advance(1000);
      const [lease] = rowsOf(here.app.raw, 'select min(expires_at) as until from tallystick_lease');
      left.push(Number(lease!['until']) - here.time.now());
      return { outcome: 'confirmed' };
    };
    await here.relay({ leaseMs: 10_000, batchRows: 1, batchesMax: 64 }).drain();
    expect(left).toHaveLength(40);
    expect(Math.min(...left)).toBeGreaterThan(0);
  });

  test('a lease that is only longer than one\u2019s own is respected', async () => {
    const here = await world(backend);
    await here.relay({ leaseMs: 3_600_000 }).drain();
    const other = here.relay({ leaseMs: 10_000 });
    other.start();
    await pass(here.time, 60_000, 5_000);
    expect(leases(here).filter(({ owner }) => owner === other.owner)).toEqual([]);
  });

  test('a relay that was paused past its lease settles nothing: its epoch is fenced', async () => {
    const here = await world(backend);
    const [id] = await here.add({ key: 'k', body: '1' });
    const held = gate();
    here.broker.before = () => (here.broker.pushed.length === 1 ? held.promise : undefined);
    here.broker.answer = (_message, push) => (push === 1 ? 'confirmed' : 'rejected');
    const paused = here.relay({ leaseMs: 10_000, sweepAfterMs: 60_000 });
    const draining = paused.drain();
    await settle(here.time);
    expect(here.broker.pushed).toEqual([id]);
    // Nobody renews for the paused one. The new owner finds the row and writes its own verdict.
    here.time.advance(10_000);
    const heir = here.relay({ leaseMs: 10_000 });
    await heir.drain();
    const verdict = rowsOf(here.app.raw, 'select state, attempts, due_at from tallystick_outbox');
    expect(verdict).toMatchObject([{ state: 'retrying', attempts: 1 }]);
    // The paused one wakes up with a confirmation in its hands and must not touch the row.
    held.open();
    await draining;
    expect(rowsOf(here.app.raw, 'select state, attempts, due_at from tallystick_outbox')).toEqual(verdict);
    expect(paused.counters).toMatchObject({ fenced: 1, confirmed: 0 });
    expect(kinds(here)).toContain('fenced');
  });

  test('a paused relay pushes nothing more once its own clock says that the lease is over', async () => {
    const here = await world(backend);
    await here.add({ key: 'k', body: '1' }, { key: 'k', body: '2' });
    const held = gate();
    here.broker.before = () => (here.broker.pushed.length === 1 ? held.promise : undefined);
    const paused = here.relay({ leaseMs: 1000, sweepAfterMs: 60_000 });
    const draining = paused.drain();
    await settle(here.time);
    here.time.advance(1000);
    held.open();
    await settle(here.time);
    // The first wave is settled (nobody had taken the lease); the second waits for a renewal.
    expect(texts(here).slice(0, 1)).toEqual(['1']);
    await draining;
    expect(texts(here)).toEqual(['1', '2']);
    expect(paused.counters.batches).toBe(2);
  });

  test('two relays share the ranges when each takes half, and every message leaves once', async () => {
    const here = await world(backend);
    const [left, right] = [here.relay({ rangesMax: 8 }), here.relay({ rangesMax: 8 })];
    await here.add(...Array.from({ length: 60 }, (_, n) => ({ key: `k${n % 20}`, body: `${n}` })));
    await left.drain();
    await right.drain();
    expect(texts(here).sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 60 }, (_, n) => `${n}`));
    expect(left.counters.confirmed).toBeGreaterThan(0);
    expect(right.counters.confirmed).toBeGreaterThan(0);
    expect(new Set(leases(here).map(({ owner }) => owner))).toEqual(new Set([left.owner, right.owner]));
  });

  test('two relays that were given one name share the ranges too, and none takes the other’s lease for its own', async () => {
    const here = await world(backend);
    const owner = `${'a'.repeat(60)}.b`;
    const [left, right] = [here.relay({ owner, rangesMax: 8 }), here.relay({ owner, rangesMax: 8 })];
    await left.drain();
    await right.drain();
    await here.add(...Array.from({ length: 60 }, (_, n) => ({ key: `k${n % 20}`, body: `${n}` })));
    await left.drain();
    await right.drain();
    expect(texts(here).sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 60 }, (_, n) => `${n}`));
    expect(left.counters.confirmed).toBeGreaterThan(0);
    expect(right.counters.confirmed).toBeGreaterThan(0);
    expect(kinds(here)).toEqual([]);
    expect(new Set(leases(here).map(({ owner }) => owner))).toEqual(new Set([left.owner, right.owner]));
    expect([left.owner, right.owner].map((name) => [name.startsWith('a'.repeat(40)), name.length])).toEqual([
      [true, 64],
      [true, 64],
    ]);
  });

  test('stop() waits for what is in flight, settles it and gives the leases back', async () => {
    const here = await world(backend);
    await here.add({ body: 'in flight' });
    const held = gate();
    here.broker.before = () => held.promise;
    const relay = here.relay();
    relay.start();
    await settle(here.time);
    let stopped = false;
    const stopping = relay.stop().then(() => (stopped = true));
    await settle(here.time);
    expect([stopped, here.states()]).toEqual([false, ['waiting']]);
    held.open();
    await stopping;
    expect(here.states()).toEqual([]);
    expect(new Set(leases(here).map(({ owner }) => owner))).toEqual(new Set(['']));
    await here.add({ body: 'next' });
    expect(await here.relay().drain()).toBe(1);
    expect(here.time.timersWaiting).toBe(0);
  });

  test('stop() does not wait for ever, and then keeps its ranges from others until the lease is over', async () => {
    const here = await world(backend);
    await here.add({ body: 'hangs' });
    here.broker.before = () => new Promise<void>(() => undefined);
    const relay = here.relay({ stopAfterMs: 2000, leaseMs: 15_000 });
    relay.start();
    await settle(here.time);
    const stopping = relay.stop();
    await settle(here.time);
    here.time.advance(2000);
    await stopping;
    here.broker.before = () => undefined;
    const heir = here.relay();
    expect(await heir.drain()).toBe(0);
    here.time.advance(13_000);
    expect(await heir.drain()).toBe(1);
  });

  test('a backlog is drained in batches bounded by rows and bytes', async () => {
    const here = await world(backend);
    await here.add(
      ...Array.from({ length: 50 }, (_, n) => ({ body: `${n}` })),
      { body: 'x'.repeat(2000) },
      { body: 'y'.repeat(400) },
      { body: 'z'.repeat(700) },
    );
    const relay = here.relay({ batchRows: 20, batchBytes: 1000, batchesMax: 1 });
    expect(await relay.drain()).toBe(53);
    expect(here.broker.batchSizes).toEqual([20, 20, 10, 1, 1, 1]);
  });

  test('a busy key does not keep other keys waiting', async () => {
    const here = await world(backend);
    await here.add(...Array.from({ length: 40 }, () => ({ key: 'hot', body: 'hot' })), { key: 'cold', body: 'cold' });
    const held = gate();
    here.broker.before = (batch) => (batch[0]!.key === 'hot' ? held.promise : undefined);
    const relay = here.relay({ batchRows: 10, leaseMs: 60_000 });
    relay.start();
    await settle(here.time);
    expect(texts(here)).toEqual(['cold']);
    held.open();
    await pass(here.time, 2000, 100);
    expect(texts(here)).toHaveLength(41);
  });

  test('a transport that throws, or answers nonsense, loses nothing', async () => {
    const here = await world(backend);
    await here.add({ body: '1' });
    const relay = here.relay({ retryFirstMs: 1, brakeFirstMs: 1 });
    const answers: (() => unknown)[] = [
      () => {
        throw new Error('thrown at once');
      },
      () => Promise.reject(Object.assign(new Error('later'), { outcome: 'unavailable' })),
      () => Promise.resolve('nonsense'),
      () => Promise.resolve([{ outcome: 'splendid' }]),
    ];
    const { broker } = here;
    const publish = broker.publish.bind(broker);
    let call = 0;
    broker.publish = (batch) => (answers[call++]?.() ?? publish(batch)) as ReturnType<typeof publish>;
    await drainFor(here, relay, 20);
    expect(texts(here)).toEqual(['1']);
    expect(call).toBe(5);
  });

  test('a message whose body row is missing dies with that reason and holds nobody else up', async () => {
    const here = await world(backend);
    await here.add({ body: 'lost' }, { body: 'fine' });
    here.app.raw.exec("delete from tallystick_outbox_body where body = cast('lost' as blob)");
    const relay = here.relay({ attemptsMax: 1 });
    await relay.drain();
    expect(texts(here)).toEqual(['fine']);
    expect(rowsOf(here.app.raw, 'select state, last_error from tallystick_outbox')).toEqual([
      { state: 'dead', last_error: 'its body is missing from the body table' },
    ]);
  });

  test('a row that turns up late with an earlier place is not skipped', async () => {
    const here = await world(backend);
    await here.add({ body: 'first' }, { body: 'second' });
    const relay = here.relay();
    here.app.raw.exec(
      'create table aside as select * from tallystick_outbox where sequence = 1; delete from tallystick_outbox where sequence = 1',
    );
    await relay.drain();
    here.app.raw.exec('insert into tallystick_outbox select * from aside');
    await relay.drain();
    expect(texts(here)).toEqual(['second', 'first']);
  });

  test('a database locked by another holds the settling back, and nothing is pushed twice', async () => {
    const here = await world(backend);
    await here.add({ body: '1' });
    const other = openRaw(here.path);
    const held = gate();
    here.broker.before = () => held.promise;
    const relay = here.relay();
    const draining = relay.drain();
    await settle(here.time);
    other.exec(lockWriting('tallystick_outbox'));
    held.open();
    await pass(here.time, 300, 50);
    expect(here.states()).toEqual(['waiting']);
    other.exec('commit');
    await pass(here.time, 500, 50);
    await draining;
    expect([here.states(), here.broker.pushed.length]).toEqual([[], 1]);
  });

  test('a settling that is locked out again and again is told once, and its end', async () => {
    const here = await world(backend);
    await here.add({ body: '1' });
    const other = openRaw(here.path);
    const held = gate();
    here.broker.before = () => held.promise;
    const draining = here.relay({ leaseMs: 600_000 }).drain();
    await settle(here.time);
    other.exec(lockWriting('tallystick_outbox'));
    held.open();
    await pass(here.time, 10_000, 250);
    expect([here.states(), kinds(here)]).toEqual([['waiting'], ['database']]);
    other.exec('commit');
    await pass(here.time, 1000, 250);
    await draining;
    expect([here.states(), kinds(here), here.broker.pushed.length]).toEqual([[], ['database', 'database-over'], 1]);
  });

  test('refuses to work inside somebody else’s transaction on its handle, says so, and goes on afterwards', async () => {
    const here = await world(backend);
    await here.add({ body: '1' });
    const { raw, handle } = connect(backend, here.path);
    raw.exec('begin');
    const relay = here.relay({ db: handle });
    await relay.drain();
    raw.exec('commit');
    expect([here.broker.pushed, kinds(here)]).toEqual([[], ['database']]);
    here.time.advance(100);
    await relay.drain();
    expect([texts(here), kinds(here)]).toEqual([['1'], ['database', 'database-over']]);
  });

  test('a listener that throws does not stop the messages', async () => {
    const here = await world(backend);
    await here.add({ body: 'bad' }, { body: 'good' });
    here.broker.answer = ({ body }) => (Buffer.from(body).toString() === 'bad' ? 'rejected' : 'confirmed');
    const relay = here.relay({
      attemptsMax: 1,
      onAlarm: () => {
        throw new Error('the pager is broken');
      },
    });
    await relay.drain();
    expect([texts(here), here.states()]).toEqual([['good'], ['dead']]);
  });

  test('relays of two channels do not see each other', async () => {
    const here = await world(backend);
    await here.add({ body: 'plain' });
    const other = here.relay({ channel: 'kafka' });
    expect(await other.drain()).toBe(0);
    expect(await here.relay().drain()).toBe(1);
    expect(new Set(leases(here).map(({ scope }) => scope))).toEqual(new Set(['tallystick_outbox', 'tallystick_outbox:kafka']));
  });
});

describe('whatever happens to pushes', () => {
  test('everything arrives, first arrivals of a key are in order, and nothing dies for the broker’s faults', async () => {
    const keys = fc.constantFrom('a', 'b', 'c', undefined);
    const outcome = fc.constantFrom<PublishResult>('confirmed', 'confirmed', 'unknown', 'unavailable', 'rejected', 'unroutable');
    await fc.assert(
      fc.asyncProperty(
        fc.array(keys, { minLength: 1, maxLength: 25 }),
        fc.array(outcome, { maxLength: 60 }),
        fc.integer({ min: 1, max: 8 }),
        async (given, luck, batchRows) => {
          const here = await world(backends[0]!);
          await here.add(...given.map((key, n) => ({ key, body: `${key ?? '-'}${n}` })));
          let answered = 0;
          here.broker.answer = () => luck[answered++] ?? 'confirmed';
          const relay = here.relay({ batchRows, attemptsMax: 1000, retryMaxMs: 2000 });
          await drainFor(here, relay, 400);
          expect(here.states()).toEqual([]);
          expect(here.broker.keysTwiceInABatch).toBe(0);
          const first = [...new Set(texts(here))];
          expect(first).toHaveLength(given.length);
          for (const key of ['a', 'b', 'c']) {
            const arrived = first.filter((text) => text.startsWith(key)).map((text) => Number(text.slice(1)));
            expect(arrived).toEqual([...arrived].sort((x, y) => x - y));
          }
          await relay.stop();
          here.app.raw.close();
        },
      ),
      { numRuns: onPostgres ? 8 : 30 },
    );
  });
});

describe('whatever happens to relays', () => {
  /** add: a message of a key. drain: a relay works. crash: it dies with its next push on the way, stored by the broker or not. wait: a lease runs out. */
  const step = fc.oneof(
    fc.record({ act: fc.constant('add' as const), key: fc.constantFrom('a', 'b', 'c', 'd') }),
    fc.record({ act: fc.constant('drain' as const), relay: fc.nat(2) }),
    fc.record({ act: fc.constant('crash' as const), relay: fc.nat(2), stored: fc.boolean() }),
    fc.record({ act: fc.constant('wait' as const), ms: fc.constantFrom(100, 4000, 10_000) }),
  );

  test('dying, replaced and sharing the ranges, they deliver everything, and first arrivals of a key in order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const here = await world(backends[0]!);
        const fresh = () => here.relay({ leaseMs: 10_000, rangesMax: 6, sweepAfterMs: 3_000_000, stopAfterMs: 0 });
        const relays = [fresh(), fresh(), fresh()];
        let added = 0;
        for (const one of steps) {
          if (one.act === 'add') await here.add({ key: one.key, body: `${one.key}${added++}` });
          else if (one.act === 'wait') here.time.advance(one.ms);
          else if (one.act === 'drain') await relays[one.relay]!.drain();
          else {
            // The push is stored or lost, its answer never comes, and the object is never asked again.
            here.broker.before = (batch) => {
              if (one.stored) here.broker.stored.push(...batch);
              return new Promise<void>(() => undefined);
            };
            void relays[one.relay]!.drain();
            await settle(here.time, 2);
            here.broker.before = () => undefined;
            relays[one.relay] = fresh();
          }
        }
        for (let round = 0; round < 5; round++) {
          here.time.advance(10_000);
          for (const relay of relays) await relay.drain();
        }
        expect(here.states()).toEqual([]);
        const first = [...new Set(texts(here))];
        expect(first).toHaveLength(added);
        for (const key of ['a', 'b', 'c', 'd']) {
          const arrived = first.filter((text) => text.startsWith(key)).map((text) => Number(text.slice(1)));
          expect(arrived).toEqual([...arrived].sort((x, y) => x - y));
        }
      }),
      { numRuns: onPostgres ? 8 : 40 },
    );
  });
});

test.each(onlySqlite)(
  'a claim on $name walks the index and sorts nothing, so its cost does not grow with the backlog',
  async (backend) => {
    const here = await world(backend);
    const seen: string[] = [];
    const { raw } = connect(backend, here.path);
    const prepare = raw.prepare.bind(raw);
    raw.prepare = ((sql: string) => {
      if (sql.includes('"tallystick_outbox" as h') && sql.startsWith('select')) seen.push(sql);
      return prepare(sql);
    }) as typeof raw.prepare;
    await here.relay({ db: raw }).drain();
    expect(seen).toHaveLength(1);
    const { pageOfMany } = relayStatements(sqlite, 'tallystick_outbox', 'hold');
    const any = new Proxy({} as Record<string, SqlValue>, { get: () => 1 });
    for (const sql of [seen[0]!, pageOfMany(any as never).sql]) {
      const parameters = Array.from({ length: (sql.match(/\?/g) ?? []).length }, () => 1);
      const plan = rowsOf(here.app.raw, `explain query plan ${sql}`, ...parameters).map(({ detail }) => String(detail));
      expect(plan[0]).toMatch(/^SEARCH h USING INDEX tallystick_outbox_due \(channel=\? AND state=\?/);
      expect(plan.join('\n')).not.toMatch(/TEMP B-TREE|SCAN h/);
      if (sql !== seen[0]) expect(plan.join('\n')).toMatch(/SEARCH e USING (COVERING )?INDEX tallystick_outbox_key/);
    }
  },
);

test('a relay is started once', async () => {
  const here = await world(backends[0]!);
  const relay = here.relay();
  relay.start();
  expect(() => relay.start()).toThrow(/start\(\) while running/);
  await relay.stop();
  await expect(relay.drain()).rejects.toThrow(/drain\(\) while stopped/);
});

test('alarms have one shape per kind', () => {
  // What a user's switch sees; a new kind is a change of the API.
  const all: Record<Alarm['kind'], true> = {
    dead: true,
    stuck: true,
    unroutable: true,
    outage: true,
    'outage-over': true,
    fenced: true,
    database: true,
    'database-over': true,
  };
  expect(Object.keys(all)).toHaveLength(8);
});
