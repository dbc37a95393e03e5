import { describe, expect, test } from 'vitest';
import { createMonitor } from '../../src/index.ts';
import { backends } from '../support/backends.ts';
import { pass, settle, world } from '../support/world.ts';

const DAY_MS = 86_400_000;

describe.each(backends)('retention on $name', (backend) => {
  test('settled rows that were kept leave while messages come without end', async () => {
    const here = await world(backend);
    const relay = here.relay({ sweepIntervalMs: 3_600_000, leaseMs: 3_600_000 });
    await here.add({ keepMs: 1_000 }, { keepMs: 1_000 });
    await relay.drain();
    here.time.advance(10_000);
    await here.add({});
    expect(here.states()).toEqual(['confirmed', 'confirmed', 'waiting']);
    // Its only look has something to send.
    relay.start();
    await settle(here.time);
    expect([here.broker.pushed.length, here.states()]).toEqual([3, []]);
  });

  test('what a person has buried leaves 90 days later; what is dead stays', async () => {
    const here = await world(backend);
    const [buried] = await here.add({}, {});
    here.broker.answer = () => 'rejected';
    const relay = here.relay({ attemptsMax: 1 });
    await relay.drain();
    await createMonitor(here.app.handle, { clock: here.time }).bury(buried!, 'of no use');
    // As an older version buried them, when they were to stay.
    const [older] = await here.add({});
    here.app.raw.exec(`update tallystick_outbox set state = 'buried', due_at = 0 where id = '${older}'`);
    here.time.advance(90 * DAY_MS);
    await relay.drain();
    expect(here.states()).toEqual(['buried', 'dead', 'buried']);
    await pass(here.time, 10_000, 5_000);
    await relay.drain();
    expect(here.states()).toEqual(['dead', 'buried']);
  });

  test('that fails keeps nothing waiting, is told once, and its end', async () => {
    const here = await world(backend);
    const [kept] = await here.add({ keepMs: 1_000 });
    const relay = here.relay();
    await relay.drain();
    here.time.advance(10_000);
    here.app.raw.exec(
      `create trigger refuses before delete on tallystick_outbox when old.id = '${kept}' begin select raise(abort, 'no'); end`,
    );
    relay.start();
    await pass(here.time, 60_000, 5_000);
    expect([here.alarms.map(({ kind }) => kind), here.states()]).toEqual([['database'], ['confirmed']]);
    await here.add({ body: 'new' });
    await pass(here.time, 500, 50);
    expect([here.broker.pushed.length, here.states()]).toEqual([2, ['confirmed']]);
    here.app.raw.exec('drop trigger refuses');
    await pass(here.time, 10_000, 1_000);
    expect([here.alarms.map(({ kind }) => kind), here.states()]).toEqual([['database', 'database-over'], []]);
  });
});
