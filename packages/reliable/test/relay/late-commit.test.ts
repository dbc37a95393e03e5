import { describe, expect, test } from 'vitest';
import { backends } from '../support/backends.ts';
import { pass, settle, world, type World } from '../support/world.ts';

/**
 * Numbers are given when a row is written and seen when its transaction commits: a row may turn up below others that have been relayed
 * already. On a server that is everyday life; here the row is taken aside and put back.
 */
function takeAside({ app }: World, sequence: number): () => void {
  app.raw.exec(
    `create table aside as select * from tallystick_outbox where sequence = ${sequence};
     delete from tallystick_outbox where sequence = ${sequence}`,
  );
  return () => app.raw.exec('insert into tallystick_outbox select * from aside');
}

describe.each(backends)('a row that turns up late, on $name', (backend) => {
  test('leaves within two sweep intervals, however old the process was when the relay began', async () => {
    const here = await world(backend);
    here.time.advance(24 * 3_600_000);
    await here.add({ body: 'late' }, { body: 'other' });
    const putBack = takeAside(here, 1);
    here.relay({ sweepIntervalMs: 500 }).start();
    await pass(here.time, 500, 50);
    expect(here.broker.storedTexts).toEqual(['other']);
    putBack();
    await pass(here.time, 1000, 50);
    expect(here.broker.storedTexts).toEqual(['other', 'late']);
  });

  test('leaves when its own commit wakes the relay, while it is late by a moment only', async () => {
    const here = await world(backend);
    await here.add({ body: 'first' }, { body: 'late' }, { body: 'other' });
    const putBack = takeAside(here, 2);
    const relay = here.relay({ sweepIntervalMs: 60_000 });
    relay.start();
    await settle(here.time);
    expect(here.broker.storedTexts).toEqual(['first', 'other']);
    putBack();
    relay.wake();
    await settle(here.time);
    expect(here.broker.storedTexts).toEqual(['first', 'other', 'late']);
  });

  test('leaves soon after an outage, however long that was', async () => {
    const here = await world(backend);
    await here.add({ body: 'late' }, { body: 'other' });
    const putBack = takeAside(here, 1);
    let away = true;
    here.broker.answer = () => (away ? { outcome: 'unavailable', reason: 'away' } : { outcome: 'confirmed' });
    here.relay({ sweepIntervalMs: 500, brakeMaxMs: 1000, leaseMs: 60_000 }).start();
    await pass(here.time, 60_000, 5000);
    away = false;
    await pass(here.time, 3000, 50);
    expect(here.broker.storedTexts).toEqual(['other']);
    putBack();
    await pass(here.time, 1000, 50);
    expect(here.broker.storedTexts).toEqual(['other', 'late']);
  });

  test('is not overtaken by a later message of its key', async () => {
    const here = await world(backend);
    await here.add({ body: 'k1', key: 'k' }, { body: 'other', key: 'o' });
    const putBack = takeAside(here, 1);
    const relay = here.relay({ sweepIntervalMs: 60_000 });
    relay.start();
    await settle(here.time);
    expect(here.broker.storedTexts).toEqual(['other']);
    putBack();
    await here.add({ body: 'k2', key: 'k' }, { body: 'p1', key: 'p' });
    relay.wake();
    await pass(here.time, 1000, 50);
    expect(here.broker.storedTexts.filter((text) => text.startsWith('k'))).toEqual(['k1', 'k2']);
    expect(here.states()).toEqual([]);
  });
});
