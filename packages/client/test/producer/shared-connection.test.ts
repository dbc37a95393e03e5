/** Several producers of one client have one connection and one account of what is in flight on it. */
import { describe, expect, it } from 'vitest';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

describe('producers that share a connection', () => {
  it('go on when others have filled it and their answers make room', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const client = stage.client();
    const many = client.producer({ group: 'many' });
    const few = client.producer({ group: 'few', maxInFlightMessages: 3 });
    warmUp(stage, many, 't');
    warmUp(stage, few, 'u');
    for (let n = 0; n < 5; n++) send(many, { topic: 't', value: `${n}` });
    const told = send(few, { topic: 'u', value: 'few' });
    stage.time.settle();
    expect([told.times, told.error]).toEqual([1, undefined]);
    expect(bodies(stage)).toContain('few');
  });

  it('take turns: one that always has more does not keep another one out', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const client = stage.client();
    const limits = { maxInFlightMessages: 4, batchSizeBytes: 0, lingerMs: 0 };
    const busy = client.producer({ group: 'busy', ...limits });
    const calm = client.producer({ group: 'calm', ...limits });
    warmUp(stage, busy, 't');
    warmUp(stage, calm, 'u');
    let sent = 0;
    const more = (): void => {
      if (sent++ < 2000) busy.send({ topic: 't', value: 'busy' }, more);
    };
    for (let n = 0; n < 12; n++) more();
    stage.time.endTurn();
    const calmOnes = Array.from({ length: 20 }, () => send(calm, { topic: 'u', value: 'calm' }));
    stage.time.settle();
    const arrived = bodies(stage);
    expect(calmOnes.every(({ receipt }) => receipt !== undefined)).toBe(true);
    expect(arrived.lastIndexOf('calm')).toBeLessThan(200);
    expect(arrived).toHaveLength(2020);
  });

  it('do not wake each other for nothing while it is full', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const client = stage.client();
    const producers = ['t', 'u'].map((group) => client.producer({ group, maxInFlightMessages: 2, batchSizeBytes: 0 }));
    producers.forEach((producer, n) => warmUp(stage, producer, 'tu'[n]!));
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    for (let n = 0; n < 8; n++) send(producers[n % 2]!, { topic: 'tu'[n % 2]!, value: `${n}` });
    // It throws when it never comes to rest.
    stage.time.settle(100);
    expect(bodies(stage)).toHaveLength(2);
  });

  it('go on when another one gives up the answer that it waits for, and keeps its queue still', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const client = stage.client();
    const ordered = client.producer({ group: 'ordered', maxInFlightPerQueue: 1, requestTimeoutMs: 500 });
    const other = client.producer({ group: 'other', maxInFlightMessages: 1 });
    warmUp(stage, ordered, 't');
    warmUp(stage, other, 'u');
    stage.broker.script = (code, { fields }) => (SENDS.includes(code) && fields.get('b') === 't' ? 'silent' : 'ok');
    const late = send(ordered, { topic: 't', value: 'late' });
    stage.time.settle();
    const told = send(other, { topic: 'u', value: 'v' });
    stage.time.advance(499);
    expect([late.times, told.times]).toEqual([0, 0]);
    stage.time.advance(2);
    expect([late.error?.code, told.receipt?.topic]).toEqual(['TIMEOUT', 'u']);
  });

  it('go on when the one before them closes', () => {
    const stage = stageWith({ t: 1, u: 1, w: 1 });
    const client = stage.client();
    const [a, b, c] = ['a', 'b', 'c'].map((group) => client.producer({ group, maxInFlightMessages: 1, batchSizeBytes: 0 }));
    warmUp(stage, a!, 't');
    warmUp(stage, b!, 'u');
    warmUp(stage, c!, 'w');
    send(a!, { topic: 't', value: 'a' });
    stage.time.endTurn();
    send(b!, { topic: 'u', value: 'b' });
    const last = send(c!, { topic: 'w', value: 'c' });
    stage.time.endTurn();
    b!.close(0, () => {});
    stage.time.settle();
    expect(last.receipt).toBeDefined();
  });
});
