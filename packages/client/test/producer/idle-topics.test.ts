import { describe, expect, it } from 'vitest';
import { ManualTime } from '@tallystick/base/testing';
import { IdleTopics } from '../../src/producer/idle-topics.ts';
import type { TopicLanes } from '../../src/producer/topic-lanes.ts';

/** Topics that were used at those times; `seen` has the name of each that is looked at. */
function topicsOf(used: Record<string, number>, maxIdleMs = 1000) {
  const seen: string[] = [];
  const busy = new Set<string>();
  const time = new ManualTime(0);
  const topics = new Map<string, TopicLanes>();
  for (const [topic, usedMs] of Object.entries(used)) {
    const one = {
      topic,
      get usedMs() {
        seen.push(topic);
        return usedMs;
      },
      get isIdle() {
        return !busy.has(topic);
      },
    };
    topics.set(topic, one as TopicLanes);
  }
  const idle = new IdleTopics({ clock: time, timers: time }, maxIdleMs, topics, (gone) => {
    for (const { topic } of gone) topics.delete(topic);
  });
  idle.arrived();
  return { idle, topics, busy, seen, time };
}

describe('idle topics', () => {
  it('are given oldest first, each once, and not those in use', () => {
    const { idle, topics, busy } = topicsOf({ a: 30, b: 10, c: 20, d: 40 });
    busy.add('c');
    const taken = [1, 2, 3].map(() => {
      const one = idle.oldest(40)?.topic;
      topics.delete(one!);
      return one;
    });
    expect(taken).toEqual(['b', 'a', undefined]);
  });

  it('are let go of when they are forgotten', () => {
    const { idle, topics, seen, time } = topicsOf({ a: 0, b: 1, c: 1500 });
    time.advance(900);
    idle.oldest(900);
    time.advance(500);
    expect([...topics.keys()]).toEqual(['c']);
    seen.length = 0;
    idle.oldest(1400);
    expect(seen).toEqual(['c']);
  });

  it('are not looked for again and again where there are none', () => {
    const { idle, busy, seen } = topicsOf({ a: 10, b: 20 });
    for (const topic of ['a', 'b']) busy.add(topic);
    expect(idle.oldest(500)).toBeUndefined();
    busy.clear();
    seen.length = 0;
    for (let ms = 501; ms < 600; ms += 7) expect(idle.oldest(ms)).toBeUndefined();
    expect(seen).toEqual([]);
    expect(idle.oldest(600)?.topic).toBe('a');
  });
});
