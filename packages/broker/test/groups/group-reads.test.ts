import { ManualTime } from '@tallystick/base/testing';
import { expect, it } from 'vitest';
import { GroupReads } from '../../src/groups/group-reads.ts';

it('tells the rate of a minute, or of the time since the start, for a topic and for all', () => {
  const time = new ManualTime();
  const reads = new GroupReads(time, 10);
  time.advance(30_000);
  reads.add('g', 'a', 60);
  reads.add('g', 'b', 30);
  expect([reads.rate('g'), reads.rate('g', 'a'), reads.rate('g', 'b'), reads.rate('g', 'c')]).toEqual([3, 2, 1, 0]);
  for (let n = 0; n < 9; n++) {
    time.advance(10_000);
    reads.add('g', 'a', 40);
    reads.look();
  }
  expect([reads.rate('g'), reads.rate('other')]).toEqual([4, 0]);
});

it('forgets a group that has been handed nothing for a minute, and follows no more groups than it may', () => {
  const time = new ManualTime();
  const reads = new GroupReads(time, 1);
  time.advance(60_000);
  reads.add('g', 'a', 60);
  reads.add('h', 'a', 60);
  expect([reads.rate('g'), reads.rate('h')]).toEqual([1, 0]);
  for (let n = 0; n < 7; n++) {
    time.advance(10_000);
    reads.look();
  }
  reads.add('h', 'a', 60);
  expect([reads.rate('g'), reads.rate('h')]).toEqual([0, 1]);
});
