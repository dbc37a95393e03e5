import { expect, it } from 'vitest';
import { Stage } from '../broker-stage.ts';
import { batch, one, placeOf } from './numbered.ts';

const HOUR_MS = 3_600_000;

function producer(n: number): string {
  return n.toString(16).padStart(32, '0');
}

it('the producer that was silent longest is forgotten when there are too many, before and after a restart', () => {
  const stage = new Stage({ sequenceProducersMax: 3 }).start();
  let client = stage.client();
  for (let n = 0; n < 3; n++) {
    one(client, `${n}`, { sequence: 0, producer: producer(n) });
    stage.run(2000);
  }
  one(client, 'again', { sequence: 1, producer: producer(0) });
  one(client, '3', { sequence: 0, producer: producer(3) });
  for (let life = 0; life < 2; life++) {
    const reasons = [0, 1, 2, 3].map((n) => one(client, 'x', { sequence: 9, producer: producer(n) }).remark!);
    expect(reasons.map((text) => text.includes('nothing is known'))).toEqual([false, true, false, false]);
    stage.restart();
    client = stage.client();
  }
});

it('a producer is forgotten a day after its last request', () => {
  const stage = new Stage({ checkIntervalMs: HOUR_MS, clientScanMs: HOUR_MS, syncIntervalMs: 60_000 }).start();
  let client = stage.client();
  one(client, 'a', { sequence: 0 });
  stage.run(23 * HOUR_MS);
  client = stage.client();
  expect(one(client, 'b', { sequence: 1 }).code).toBe(0);
  stage.run(25 * HOUR_MS);
  client = stage.client();
  one(client, 'other', { sequence: 0, producer: producer(1) });
  expect(one(client, 'c', { sequence: 2 }).remark).toContain('nothing is known');
});

it('too many queues cost the producers that were silent longest', () => {
  const client = new Stage({ sequenceWindowsMax: 4 }).start().client();
  for (let n = 0; n < 2; n++) {
    for (let queueId = 0; queueId < 3; queueId++) one(client, 'x', { sequence: 0, queueId, producer: producer(n) });
    client.stage.run(2000);
  }
  expect(one(client, 'x', { sequence: 9, producer: producer(0) }).remark).toContain('nothing is known');
  expect(one(client, 'x', { sequence: 0, queueId: 2, producer: producer(1) }).fields.get('queueOffset')).toBe('1');
});

it('the deletion of old segments forgets neither producers nor answers', () => {
  const stage = new Stage({ storeMaxBytes: 512 * 1024, retentionIntervalMs: 100 }).start();
  const client = stage.client();
  const single = one(client, 'a', { sequence: 0, props: { UNIQ_KEY: 'K' } });
  const first = batch(client, ['b', 'c'], { sequence: 1 });
  const filler = 'x'.repeat(30_000);
  for (let n = 0; n < 60; n++) client.send('filler', filler);
  stage.run(2000);
  expect(stage.core.store.info().start).toBeGreaterThan(0);
  stage.restart();
  const later = stage.client();
  expect(placeOf(one(later, 'a', { sequence: 0, props: { UNIQ_KEY: 'K' } }))).toEqual(placeOf(single));
  const again = batch(later, ['b', 'c'], { sequence: 1 });
  expect([again.code, again.fields.get('queueOffset')]).toEqual([0, first.fields.get('queueOffset')]);
  expect(one(later, 'd', { sequence: 2 }).code).toBe(0);
});
