/** What a person decides about a message while it is pushed, and the broker confirms: the row as PostgreSQL has it then. */
import { createMonitor } from '@tallystick/reliable';
import { expect, test } from 'vitest';
import { world } from './support.ts';

test('a message that is requeued in the air, confirmed and kept, has the account that the person gave it', async () => {
  const here = await world();
  const monitor = createMonitor(here.pool);
  await here.add({ keepMs: 60_000 });
  const relay = here.relay({ attemptsMax: 9, retryFirstMs: 1 });
  here.broker.answer = () => 'rejected';
  await relay.drain();
  const [row] = await monitor.list({ state: 'retrying' });
  const { id, attempts } = row!;
  expect(attempts).toBeGreaterThan(0);
  here.broker.answer = () => 'confirmed';
  const changed: number[] = [];
  here.broker.before = async () => {
    if (changed.length === 0) changed.push((await monitor.act('requeue', { ids: [id] }, { execute: true })).changed);
  };
  while ((await here.states())['confirmed'] !== 1) await relay.drain();
  expect(changed).toEqual([1]);
  expect(await monitor.show(id)).toMatchObject({ state: 'confirmed', attempts: 0, tries: 0 });
});
