/** What a person decides about a message while a relay has handed it to the broker and waits for the answer. */
import { describe, expect, test } from 'vitest';
import {
  createMonitor,
  type Action,
  type ActReport,
  type AsyncHandle,
  type NewMessage,
  type PublishResult,
} from '../../src/index.ts';
import { backends, connect, rowsOf, type Backend } from '../support/backends.ts';
import { world } from '../support/world.ts';

/** One message, pushed in vain once; while it is pushed again the person acts, and then the broker answers. */
async function decided(backend: Backend, action: Action, answer: PublishResult, message: Partial<NewMessage> = {}) {
  const here = await world(backend);
  const monitor = createMonitor(here.app.handle, { clock: here.time });
  const [id] = await here.add(message);
  const relay = here.relay({ attemptsMax: 2, retryFirstMs: 1 });
  here.broker.answer = () => 'rejected';
  await relay.drain();
  here.time.advance(10);
  here.broker.answer = () => answer;
  const reports: ActReport[] = [];
  here.broker.before = async () => {
    if (reports.length === 0) reports.push(await monitor.act(action, { ids: [id!] }, { execute: true, reason: 'not wanted' }));
  };
  await relay.drain();
  const bodies = (): number => rowsOf(here.app.raw, 'select id from tallystick_outbox_body').length;
  return { here, monitor, id: id!, relay, item: reports[0]!.items[0]!, bodies };
}

describe.each(backends)('a message in the air, on $name', (backend) => {
  test('that is buried, and that the broker confirms after that, has left: nothing is kept of it', async () => {
    const { here, item, bodies } = await decided(backend, 'bury', 'confirmed');
    expect(item).toMatchObject({ state: 'buried', result: 'changed' });
    expect([here.states(), bodies()]).toEqual([[], 0]);
  });

  test('that is buried, confirmed, and kept for its status, stays buried, and whole: it can be taken back', async () => {
    const { here, monitor, id, relay, item, bodies } = await decided(backend, 'bury', 'confirmed', {
      keepMs: 60_000,
      body: 'text',
    });
    expect(item).toMatchObject({ state: 'buried', result: 'changed' });
    expect([here.states(), bodies()]).toEqual([['buried'], 1]);
    await monitor.act('requeue', { ids: [id] }, { execute: true });
    await relay.drain();
    expect([here.broker.storedTexts, here.states(), bodies()]).toEqual([['text', 'text'], ['confirmed'], 0]);
  });

  test('that is buried, and refused after that, stays buried', async () => {
    const { monitor, id } = await decided(backend, 'bury', 'rejected');
    expect(await monitor.show(id)).toMatchObject({ state: 'buried', lastError: 'not wanted' });
  });

  test('that is requeued keeps its new account, whatever becomes of the push that was begun before', async () => {
    const { here, monitor, id, relay, item } = await decided(backend, 'requeue', 'rejected');
    expect(item).toMatchObject({ state: 'retrying', result: 'changed' });
    // The push of the old account is not counted; it went on from there at once, with the first of the new one.
    expect(await monitor.show(id)).toMatchObject({ state: 'retrying', attempts: 1, tries: 1 });
    expect(here.broker.pushed).toHaveLength(3);
    here.time.advance(10);
    await relay.drain();
    expect(await monitor.show(id)).toMatchObject({ state: 'dead', attempts: 2 });
  });

  test('that is requeued, confirmed and kept for its status, keeps its new account too', async () => {
    const { monitor, id } = await decided(backend, 'requeue', 'confirmed', { keepMs: 60_000 });
    expect(await monitor.show(id)).toMatchObject({ state: 'confirmed', attempts: 0, tries: 0 });
  });
});

const asynchronous = backends.filter(({ kind }) => kind === 'async');

describe.each(asynchronous)('a message whose consumer never confirmed it, on $name', (backend) => {
  test('and that a person tries again just when the relay gives it up, is sent once more', async () => {
    const here = await world(backend);
    const [id] = await here.add({});
    here.app.raw.exec('update tallystick_outbox set confirm_within = 5000');
    const monitor = createMonitor(here.app.handle, { clock: here.time });
    const handle = connect(backend, here.path).handle as AsyncHandle;
    const reports: ActReport[] = [];
    const execute: AsyncHandle['execute'] = async (sql, parameters) => {
      const answer = await handle.execute(sql, parameters);
      const isSpent = parameters.includes('sent') && answer.rows[0]?.['id'] === id;
      if (isSpent && reports.length === 0) reports.push(await monitor.act('retry', { ids: [id!] }, { execute: true }));
      return answer;
    };
    const relay = here.relay({ db: { ...handle, execute }, confirmAttemptsMax: 1 });
    await relay.drain();
    expect([here.states(), here.broker.stored.length]).toEqual([['sent'], 1]);
    here.time.advance(5001);
    await relay.drain();
    expect(reports[0]!.items[0]).toMatchObject({ from: 'sent', state: 'retrying', result: 'changed' });
    await relay.drain();
    expect([here.states(), here.broker.stored.length, here.alarms]).toEqual([['sent'], 2, []]);
    here.time.advance(5001);
    await relay.drain();
    expect([here.states(), here.alarms.map(({ kind }) => kind)]).toEqual([['dead'], ['dead']]);
  });
});
