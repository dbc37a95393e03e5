import { expect, test } from 'vitest';
import { Underway } from '../src/underway.ts';

test('the end comes when the last work has ended, however it did, and every one who asked is told', async () => {
  const underway = new Underway();
  const ends: ((error?: Error) => void)[] = [];
  const work = () =>
    underway.run(() => new Promise<number>((resolve, reject) => ends.push((error) => (error ? reject(error) : resolve(7)))));
  const first = work();
  let told = 0;
  const ended = Promise.all([underway.ended(), underway.ended()]).then(() => told++);
  // What begins although the end is waited for is waited for, too.
  const second = work();
  ends[0]!(new Error('it failed'));
  await expect(first).rejects.toThrow('it failed');
  expect(told).toBe(0);
  ends[1]!();
  expect(await second).toBe(7);
  await ended;
  expect(told).toBe(1);
});

test('work that throws before it waits counts as ended, and with nothing under way the end has come', async () => {
  const underway = new Underway();
  const thrown = underway.run(() => {
    throw new Error('at once');
  });
  await expect(thrown).rejects.toThrow('at once');
  await underway.ended();
});
