import { describe, expect, test } from 'vitest';
import { createMonitor } from '../src/index.ts';
import { backends, rowsOf } from './support/backends.ts';
import { world } from './support/world.ts';

describe.each(backends)('the monitor on $name', (backend) => {
  test('counts rows by state and says how old the oldest is that should have left', async () => {
    const here = await world(backend);
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    expect(await monitor.counts()).toEqual({ waiting: 0, delayed: 0, retrying: 0, dead: 0, buried: 0, done: 0, oldestMs: 0 });
    await here.add({ body: 'dead' }, { body: 'unknown' }, { body: 'later', notBefore: here.time.now() + 1e6 });
    here.time.advance(1000);
    await here.add({ body: 'after the dead', key: 'k' }, { body: 'waits', key: 'k' });
    here.broker.answer = ({ body }) =>
      ['dead', 'after the dead'].includes(Buffer.from(body).toString()) ? 'rejected' : 'unknown';
    await here.relay({ attemptsMax: 1 }).drain();
    here.time.advance(4000);
    expect(await monitor.counts()).toEqual({ waiting: 1, delayed: 1, retrying: 1, dead: 2, buried: 0, done: 0, oldestMs: 5000 });
  });

  test('lists the rows of a state with their last error, page by page', async () => {
    const here = await world(backend);
    const ids = await here.add({ topic: 'a' }, { topic: 'b', key: 'k', tag: 'x' }, { topic: 'c' });
    here.broker.answer = ({ topic }) => ({ outcome: 'unroutable', reason: `no queue for ${topic}` });
    await here.relay({ attemptsMax: 1 }).drain();
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const first = await monitor.list({ state: 'dead', limit: 2 });
    const rest = await monitor.list({ state: 'dead', limit: 2, after: first.at(-1)!.sequence });
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
      lastOutcome: 'unroutable',
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
});
