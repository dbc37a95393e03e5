import { expect, test } from 'vitest';
import { backends } from '../support/backends.ts';
import { pass, world, type World } from '../support/world.ts';

/** More than one claim walks past: 16 pages of 2,000. */
const BLOCKED = 35_000;

/** A dead message, and others of its key behind it. */
function block({ app }: World): void {
  app.raw.exec(
    `insert into tallystick_outbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at,
       body_bytes)
     with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n <= ${BLOCKED})
     select printf('%032d', n), '', 5, 'k', 't', 'immediate', case n when 1 then 'dead' else 'waiting' end, 0, 0, 0, 1, 1, 1 from numbers;
     insert into tallystick_outbox_body (id, channel, headers, body) select id, '', null, 'behind' from tallystick_outbox`,
  );
}

test.each(backends)('on $name however many messages lie behind a dead one, others leave', async (backend) => {
  const here = await world(backend);
  block(here);
  await here.add({ body: 'first', key: 'healthy' });
  here.relay().start();
  await pass(here.time, 3_000, 50);
  expect(here.broker.storedTexts).toEqual(['first']);
  // Its number is that of the one before, which is gone.
  await here.add({ body: 'second', key: 'healthy' });
  await pass(here.time, 3_000, 50);
  expect(here.broker.storedTexts).toEqual(['first', 'second']);
});

test.each(backends)('on $name a key that was held up once and is free makes nobody wait for a sweep', async (backend) => {
  const here = await world(backend);
  let refused = 0;
  here.broker.answer = ({ key }) =>
    key === 'k' && refused++ === 0 ? { outcome: 'unroutable', reason: 'no queue' } : { outcome: 'confirmed' };
  await here.add(
    ...Array.from({ length: 9 }, (_, n) => ({ body: `a${n}` })),
    { body: 'first', key: 'k' },
    ...Array.from({ length: 20 }, (_, n) => ({ body: `${n}`, key: 'k' })),
  );
  const relay = here.relay({ sweepIntervalMs: 3_600_000, retryFirstMs: 1_000 });
  relay.start();
  await pass(here.time, 10_000, 50);
  expect(here.broker.stored).toHaveLength(30);
  // Its number is given again.
  await here.add({ body: 'low' });
  relay.wake();
  await pass(here.time, 3_000, 50);
  expect(here.broker.storedTexts.at(-1)).toBe('low');
});

test.each(backends)('on $name they follow in order when a person has buried the dead one', async (backend) => {
  const here = await world(backend);
  block(here);
  here.relay().start();
  await pass(here.time, 3_000, 50);
  expect(here.broker.storedTexts).toEqual([]);
  here.app.raw.exec(`update tallystick_outbox set state = 'buried', changed_at = ${here.time.now()} where state = 'dead'`);
  await pass(here.time, 10_000, 50);
  expect(here.states()).toEqual(['buried']);
  const numbers = here.broker.stored.map(({ id }) => Number(id));
  expect(numbers).toEqual(Array.from({ length: BLOCKED }, (_, n) => n + 2));
});
