import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, it } from 'vitest';
import { Rebalance } from '../../src/consumer/rebalance.ts';
import type { QueueKey } from '../../src/route/queue-key.ts';

type Members = (error: Error | undefined, ids: readonly string[]) => void;

function rebalancing(queues: Record<string, number>) {
  const time = new ManualTime();
  const asked: { topic: string; answer: Members }[] = [];
  const assigned: string[] = [];
  const events: string[] = [];
  const keys = (topic: string, count: number): QueueKey[] =>
    Array.from({ length: count }, (_, n) => ({ topic, brokerName: 'b', queueId: count - 1 - n }));
  const rebalance = new Rebalance({ members: (topic, answer) => void asked.push({ topic, answer }) }, time, 1000, {
    clientId: 'me',
    topics: () => Object.keys(queues),
    queuesOf: (topic) => (queues[topic]! < 0 ? undefined : keys(topic, queues[topic]!)),
    assign: (topic, mine) => assigned.push(`${topic}:${mine.map(({ queueId }) => queueId).join()}`),
    unlisted: () => events.push('unlisted'),
    report: () => events.push('report'),
  });
  const answer = (error: Error | undefined, ids: string[]): void => asked.shift()!.answer(error, ids);
  return { time, rebalance, asked, assigned, events, answer };
}

describe('rebalance', () => {
  it('assigns its share of the sorted queues', () => {
    const { rebalance, assigned, answer } = rebalancing({ t: 5 });
    rebalance.now();
    answer(undefined, ['other', 'me']);
    expect(assigned).toEqual(['t:0,1,2']);
  });

  it('runs one round at a time, and one more for all wishes during it', () => {
    const { rebalance, asked, answer } = rebalancing({ t: 1 });
    let rounds = 0;
    for (let n = 0; n < 3; n++) rebalance.now(() => rounds++);
    expect(asked.length).toBe(1);
    answer(undefined, ['me']);
    expect([asked.length, rounds]).toEqual([1, 0]);
    answer(undefined, ['me']);
    expect([asked.length, rounds]).toEqual([0, 3]);
  });

  it('comes again after its interval, and sooner when asked', () => {
    const { time, rebalance, asked, answer } = rebalancing({ t: 1 });
    rebalance.now();
    rebalance.soon(50);
    answer(undefined, ['me']);
    time.advance(50);
    expect(asked.length).toBe(1);
    answer(undefined, ['me']);
    time.advance(999);
    expect(asked.length).toBe(0);
    time.advance(1);
    expect(asked.length).toBe(1);
  });

  it.each([
    ['an error', new Error('no consumer for this group'), [], 'report'],
    ['a list without itself', undefined, ['other'], 'unlisted'],
  ] as const)('changes nothing on %s', (_, error, ids, event) => {
    const { rebalance, assigned, events, answer } = rebalancing({ t: 2 });
    rebalance.now();
    answer(error, [...ids]);
    expect([assigned, events]).toEqual([[], [event]]);
  });

  it('leaves topics without a known route alone, and takes away queues of a topic that has none', () => {
    const { rebalance, assigned, asked, answer } = rebalancing({ unknown: -1, empty: 0 });
    rebalance.now();
    expect(asked.map(({ topic }) => topic)).toEqual(['empty']);
    answer(undefined, ['me']);
    expect(assigned).toEqual(['empty:']);
  });

  it('does nothing after stop, and leaves nobody waiting', () => {
    const { time, rebalance, assigned, answer } = rebalancing({ t: 1 });
    let over = false;
    rebalance.now(() => (over = true));
    rebalance.stop();
    answer(undefined, ['me']);
    time.advance(5000);
    expect([assigned, over, time.timersWaiting]).toEqual([[], true, 0]);
  });
});
