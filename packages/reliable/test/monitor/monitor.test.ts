import { describe, expect, test } from 'vitest';
import { createMonitor } from '../../src/index.ts';
import { backends, rowsOf } from '../support/backends.ts';
import { world } from '../support/world.ts';

describe.each(backends)('the monitor on $name', (backend) => {
  test('counts rows by state and says how old the oldest is that should have left', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.counts()).toEqual({
      waiting: 0,
      delayed: 0,
      retrying: 0,
      dead: 0,
      buried: 0,
      sent: 0,
      confirmed: 0,
      done: 0,
      oldestMs: 0,
    });
    await here.add({ body: 'dead' }, { body: 'unknown' }, { body: 'later', notBefore: here.time.now() + 1e6 });
    here.time.advance(1000);
    await here.add({ body: 'after the dead', key: 'k' }, { body: 'waits', key: 'k' });
    here.broker.answer = ({ body }) =>
      ['dead', 'after the dead'].includes(Buffer.from(body).toString()) ? 'rejected' : 'unknown';
    await here.relay({ attemptsMax: 1 }).drain();
    here.time.advance(4000);
    expect(await monitor.counts()).toEqual({
      waiting: 1,
      delayed: 1,
      retrying: 1,
      dead: 2,
      buried: 0,
      sent: 0,
      confirmed: 0,
      done: 0,
      oldestMs: 5000,
    });
  });

  test('lists the rows of a state with their last error, page by page', async () => {
    const here = await world(backend);
    const ids = await here.add({ topic: 'a' }, { topic: 'b', key: 'k', tag: 'x' }, { topic: 'c' });
    here.broker.answer = ({ topic }) => ({ outcome: 'rejected', reason: `no queue for ${topic}` });
    await here.relay({ attemptsMax: 1 }).drain();
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const first = await monitor.list({ state: 'dead', limit: 2 });
    const rest = await monitor.list({ state: 'dead', limit: 2, after: first.at(-1)! });
    expect([...first, ...rest].map(({ id, lastError }) => [id, lastError])).toEqual(
      ids.map((id, n) => [id, `no queue for ${'abc'[n]!}`]),
    );
    expect(first[1]).toMatchObject({
      topic: 'b',
      key: 'k',
      tag: 'x',
      state: 'dead',
      attempts: 1,
      tries: 1,
      lastOutcome: 'rejected',
      bodyBytes: 1,
    });
  });

  test('retryNow gives a dead message a fresh account; it says no for what is not in trouble', async () => {
    const here = await world(backend);
    const [id] = await here.add({});
    here.broker.answer = (_message, push) => (push < 3 ? 'rejected' : 'confirmed');
    const relay = here.relay({ attemptsMax: 2, retryFirstMs: 1 });
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.retryNow(id!)).toBe(false);
    for (let push = 0; push < 2; push++) {
      await relay.drain();
      here.time.advance(10);
    }
    expect(here.states()).toEqual(['dead']);
    expect([await monitor.retryNow(id!), await monitor.retryNow('0'.repeat(32))]).toEqual([true, false]);
    expect(await relay.drain()).toBe(1);
    expect(await monitor.retryNow(id!)).toBe(false);
  });

  test('bury keeps the row with the reason, and retryNow digs it up again', async () => {
    const here = await world(backend);
    const [id] = await here.add({ body: 'x' });
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.bury(id!, 'too early')).toBe(false);
    here.broker.answer = (_message, push) => (push === 1 ? 'rejected' : 'confirmed');
    const relay = here.relay({ attemptsMax: 1 });
    await relay.drain();
    expect(await monitor.bury(id!, 'customer left')).toBe(true);
    expect(await relay.drain()).toBe(0);
    expect(await monitor.list({ state: 'buried' })).toMatchObject([{ id, lastError: 'customer left' }]);
    expect(await monitor.retryNow(id!)).toBe(true);
    expect(await relay.drain()).toBe(1);
  });

  test('only what was buried long ago is forgotten, head and body', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const ids = await here.add({ body: 'old' }, { body: 'young' }, { body: 'dead' });
    here.broker.answer = () => 'rejected';
    await here.relay({ attemptsMax: 1 }).drain();
    await monitor.bury(ids[0]!, 'a');
    here.time.advance(10_000);
    await monitor.bury(ids[1]!, 'b');
    expect([await monitor.forgetBuried(5000), await monitor.forgetBuried(5000), here.states()]).toEqual([
      1,
      0,
      ['buried', 'dead'],
    ]);
    expect(rowsOf(here.app.raw, 'select id from tallystick_outbox_body order by id').map(({ id }) => id)).toEqual(
      [ids[1], ids[2]], // ids grow
    );
  });

  test('what is buried is forgotten in bounded steps, the one that was buried first first', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const ids = await here.add({}, {}, {});
    here.broker.answer = () => 'rejected';
    await here.relay({ attemptsMax: 1 }).drain();
    for (const id of [ids[2], ids[0], ids[1]]) {
      await monitor.bury(id!, 'x');
      here.time.advance(10);
    }
    const left = (table: string): unknown[] => rowsOf(here.app.raw, `select id from ${table}`).map(({ id }) => id);
    expect([await monitor.forgetBuried(1, 2), left('tallystick_outbox')]).toEqual([2, [ids[1]]]);
    expect(left('tallystick_outbox_body')).toEqual([ids[1]]);
    expect([await monitor.forgetBuried(1, 2), await monitor.forgetBuried(1, 2)]).toEqual([1, 0]);
    await expect((async () => monitor.forgetBuried(1, 0))()).rejects.toThrow(RangeError);
  });

  test('what an older version buried counts from then, whatever its due time says', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    await here.add({});
    here.app.raw.exec(`update tallystick_outbox set state = 'buried', due_at = 0, changed_at = ${here.time.now()}`);
    here.time.advance(1000);
    expect([await monitor.forgetBuried(2000), await monitor.forgetBuried(500), here.states()]).toEqual([0, 1, []]);
  });

  test('shows one message: headers, and the beginning of its body as text or as hex', async () => {
    const here = await world(backend);
    const [text, bytes] = await here.add(
      { body: 'Grüße an alle', headers: { colour: 'red' }, key: 'k' },
      { body: Buffer.from([0, 1, 255]) },
    );
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.show(text!)).toMatchObject({
      id: text,
      key: 'k',
      state: 'waiting',
      body: { text: 'Grüße an alle', more: 0 },
    });
    expect((await monitor.show(text!))!.headers).toEqual(new Map([['colour', 'red']]));
    // The third byte is the first half of a letter.
    expect((await monitor.show(text!, 3))!.body).toEqual({ text: 'Gr', more: 12 });
    expect((await monitor.show(bytes!))!.body).toEqual({ hex: '0001ff', more: 0 });
    expect(await monitor.show('0'.repeat(32))).toBeUndefined();
  });

  test('finds the keys that are held up, by which message, and how many wait behind it', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const [first] = await here.add({ key: 'k', body: 'bad' }, { key: 'k' }, { key: 'k' }, { key: 'other' }, { body: 'bad' });
    here.broker.answer = ({ body }) => (Buffer.from(body).toString() === 'bad' ? 'rejected' : 'confirmed');
    await here.relay({ attemptsMax: 1 }).drain();
    expect(await monitor.blockedKeys()).toMatchObject([{ key: 'k', row: { id: first, state: 'dead' }, behind: 2 }]);
  });

  test('finds messages by what is known of them, and says when there are more', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const ids = await here.add({ topic: 'a', key: 'k' }, { topic: 'b' }, { topic: 'b', key: 'k' }, { topic: 'c' });
    here.broker.answer = ({ topic }) => ({ outcome: 'rejected', reason: `No queue for ${topic}` });
    await here.relay({ attemptsMax: 1, deadKeys: 'pass' }).drain();
    const found = async (selection: Parameters<typeof monitor.select>[0]) => {
      const { rows, complete } = await monitor.select(selection);
      return [complete, ...rows.map(({ id }) => ids.indexOf(id))];
    };
    expect(await found({ topic: 'b' })).toEqual([true, 1, 2]);
    expect(await found({ key: 'k' })).toEqual([true, 0, 2]);
    expect(await found({ error: 'queue FOR c' })).toEqual([true, 3]);
    expect(await found({ states: ['waiting'] })).toEqual([true]);
    expect(await found({ limit: 3 })).toEqual([false, 0, 1, 2]);
    expect(await found({ limit: 4 })).toEqual([true, 0, 1, 2, 3]);
    expect(await found({ olderThanMs: 1 })).toEqual([true]);
    here.time.advance(10);
    expect(await found({ olderThanMs: 1, ids: [ids[2]!, 'absent'] })).toEqual([true, 2]);
  });

  test('an action only says what it would do until it is told to do it, and then reads every message back', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const ids = await here.add(
      { topic: 'a', key: 'k' },
      { topic: 'a', key: 'k' },
      { topic: 'b' },
      { topic: 'later', notBefore: 1e15 },
    );
    here.broker.answer = () => 'rejected';
    const relay = here.relay({ attemptsMax: 1, deadKeys: 'pass' });
    await relay.drain();
    const meant = { topic: 'a' };
    const plan = await monitor.act('requeue', meant);
    expect(plan).toMatchObject({ executed: false, changed: 2, complete: true });
    expect(plan.items).toMatchObject(ids.slice(0, 2).map((id) => ({ id, from: 'dead', state: 'dead', result: 'would change' })));
    expect(here.states()).toEqual(['dead', 'dead', 'dead', 'delayed']);

    const report = await monitor.act('requeue', meant, { execute: true });
    expect(report.items).toMatchObject(ids.slice(0, 2).map((id) => ({ id, from: 'dead', state: 'retrying', result: 'changed' })));
    here.broker.answer = () => 'confirmed';
    here.broker.pushed.length = 0;
    await relay.drain();
    expect(here.broker.pushed).toEqual(ids.slice(0, 2));

    const more = await monitor.act('bury', { ids: [...ids, 'nothing'] }, { execute: true, reason: 'not wanted' });
    expect(more.items.map(({ id, from, state, result }) => [id, from, state, result])).toEqual([
      [ids[2], 'dead', 'buried', 'changed'],
      [ids[3], 'delayed', 'buried', 'changed'],
      [ids[0], 'absent', 'absent', 'refused'],
      [ids[1], 'absent', 'absent', 'refused'],
      ['nothing', 'absent', 'absent', 'refused'],
    ]);
    const refused = await monitor.act('bury', { ids: [ids[2]!] }, { execute: true });
    expect(refused).toMatchObject({
      changed: 0,
      items: [{ result: 'refused', note: 'a message that is buried cannot be buried' }],
    });
    expect((await monitor.show(ids[2]!))!.lastError).toBe('not wanted');
  });

  test('a retry leaves the account of attempts as it is, a requeue begins a new one', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const ids = await here.add({}, {});
    here.broker.answer = () => 'rejected';
    const relay = here.relay({ attemptsMax: 2, retryFirstMs: 1 });
    await relay.drain();
    here.time.advance(10);
    await relay.drain();
    await monitor.act('retry', { ids: [ids[0]!] }, { execute: true });
    await monitor.act('requeue', { ids: [ids[1]!] }, { execute: true });
    expect((await monitor.select({})).rows.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['retrying', 2],
      ['retrying', 0],
    ]);
    await relay.drain();
    expect((await monitor.select({})).rows.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['dead', 3],
      ['retrying', 1],
    ]);
  });

  test('warns when a message is older than receivers remember it', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const [id] = await here.add({});
    here.broker.answer = () => 'rejected';
    await here.relay({ attemptsMax: 1 }).drain();
    expect((await monitor.act('requeue', {})).items[0]!.note).toBeUndefined();
    here.time.advance(31 * 86_400_000);
    expect((await monitor.act('requeue', { ids: [id!] })).items[0]!.note).toContain(
      'it is 31 days old, and receivers keep keys for 30 days',
    );
  });

  test('warns when a message in the inbox is older than its keys: by its own id, and else by when it came', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time, table: 'tallystick_inbox' });
    const dayMs = 86_400_000;
    here.time.advance(0x018f00000000 - here.time.now());
    const uuid = (days: number): string =>
      `${(here.time.now() - days * dayMs).toString(16).padStart(12, '0').toUpperCase()}70008000000000000001`;
    const rows: readonly (readonly [id: string, cameDaysAgo: number])[] = [
      ['foreign-1', 31],
      ['foreign-2', 29],
      [uuid(40), 1],
      [uuid(29), 29],
    ];
    for (const [id, days] of rows) {
      const at = here.time.now() - days * dayMs;
      here.app.raw
        .exec(`insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at,
        body_bytes) values ('${id}', '', 0, 'orders', 'immediate', 'dead', 16, 16, 0, ${at}, ${at}, 0)`);
    }
    const { items } = await monitor.act('requeue', { ids: rows.map(([id]) => id) });
    const notes = new Map(items.map(({ id, note }) => [id, note]));
    expect(rows.map(([id]) => notes.get(id))).toEqual([
      expect.stringContaining('it is 31 days old'),
      undefined,
      expect.stringContaining('it is 40 days old'),
      undefined,
    ]);
  });
});
