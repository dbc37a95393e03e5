/** What a person decides about a message while a relay has handed it to the broker and waits for the answer. */
import { describe, expect, test } from 'vitest';
import { createMonitor, type ActReport, type PublishResult } from '../../src/index.ts';
import { backends, rowsOf, type Backend } from '../support/backends.ts';
import { world } from '../support/world.ts';

/** One message, pushed in vain once; while it is pushed again a person buries it, and then the broker answers. */
async function buried(backend: Backend, answer: PublishResult) {
  const here = await world(backend);
  const monitor = createMonitor(here.app.handle, { clock: here.time });
  const [id] = await here.add({});
  const relay = here.relay({ attemptsMax: 2, retryFirstMs: 1 });
  here.broker.answer = () => 'rejected';
  await relay.drain();
  here.time.advance(10);
  here.broker.answer = () => answer;
  const reports: ActReport[] = [];
  here.broker.before = async () => {
    if (reports.length === 0) reports.push(await monitor.act('bury', { ids: [id!] }, { execute: true, reason: 'not wanted' }));
  };
  await relay.drain();
  const bodies = (): number => rowsOf(here.app.raw, 'select id from tallystick_outbox_body').length;
  return { here, monitor, id: id!, item: reports[0]!.items[0]!, bodies };
}

describe.each(backends)('a message in the air, on $name', (backend) => {
  test('that is buried, and that the broker confirms after that, has left: nothing is kept of it', async () => {
    const { here, item, bodies } = await buried(backend, 'confirmed');
    expect(item).toMatchObject({ state: 'buried', result: 'changed' });
    expect([here.states(), bodies()]).toEqual([[], 0]);
  });

  test('that is buried, and refused after that, stays buried', async () => {
    const { monitor, id } = await buried(backend, 'rejected');
    expect(await monitor.show(id)).toMatchObject({ state: 'buried', lastError: 'not wanted' });
  });
});
