import { expect, test } from 'vitest';
import { Backlog } from './backlog.ts';
import { Loop, percentiles } from './loop.ts';
import { numbered, numberOf, SteadyLoad } from './steady.ts';

test('never more operations are open than the window, and every one that was begun ends before the figure', async () => {
  const loop = new Loop({ window: 8, warmUpMs: 5, windowMs: 30 });
  let open = 0;
  let most = 0;
  let begun = 0;
  const figure = await loop.run(() => {
    begun++;
    most = Math.max(most, ++open);
    setImmediate(() => {
      open--;
      loop.finished();
    });
  });
  expect(most).toBe(8);
  expect(open).toBe(0);
  expect(figure.completed).toBe(begun);
  expect(figure.perSecond).toBeGreaterThan(0);
});

test('one operation in 64 is timed', async () => {
  const loop = new Loop({ window: 1, warmUpMs: 0, windowMs: 20 });
  let sampled = 0;
  let begun = 0;
  await loop.run((_n, sample) => {
    begun++;
    if (sample !== undefined) sampled++;
    setImmediate(() => {
      sample?.();
      loop.finished();
    });
  });
  expect(sampled).toBe(Math.ceil(begun / 64));
});

test('an operation of many messages counts for all of them', async () => {
  const loop = new Loop({ window: 2, warmUpMs: 0, windowMs: 10 }, 256);
  let begun = 0;
  const { completed } = await loop.run(() => {
    begun++;
    setImmediate(loop.finished);
  });
  expect(completed).toBe(begun * 256);
});

test('a figure never hides a failed operation', async () => {
  const loop = new Loop({ window: 2, warmUpMs: 0, windowMs: 10_000 });
  const figure = loop.run((n) => setImmediate(() => (n === 100 ? loop.failed(new Error('refused')) : loop.finished())));
  await expect(figure).rejects.toThrow('refused');
});

test('percentiles are those of all latencies', () => {
  expect(percentiles(Array.from({ length: 100 }, (_, n) => 100 - n))).toEqual({ p50Ms: 51, p99Ms: 100 });
  expect(percentiles([])).toEqual({ p50Ms: 0, p99Ms: 0 });
});

test('a backlog is done with its last message', async () => {
  const backlog = new Backlog(20);
  for (let n = 1; n < 20; n++) expect(backlog.handled()).toBe(false);
  expect(backlog.handled()).toBe(true);
  expect((await backlog.done).perSecond).toBeGreaterThan(0);
});

test('a steady load waits for all its messages, and a repeat does not count for another one', async () => {
  const load = new SteadyLoad(5, 20);
  const sent: number[] = [];
  const figure = await load.run((n) => {
    sent.push(n);
    setImmediate(() => {
      load.received(n);
      load.received(n);
    });
  });
  expect(sent).toEqual(Array.from({ length: 25 }, (_, n) => n));
  expect(figure.p99Ms).toBeGreaterThanOrEqual(figure.p50Ms);
});

test('a numbered body gives its number back', () => {
  expect(numberOf(numbered(1234, 100))).toBe(1234);
  expect(numbered(7, 100)).toHaveLength(100);
});
