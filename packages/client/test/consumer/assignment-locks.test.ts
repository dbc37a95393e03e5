import { ManualTime } from '@tallystick/base/testing';
import { expect, it } from 'vitest';
import { Assignment } from '../../src/consumer/assignment.ts';
import { QueueLocks } from '../../src/consumer/queue-locks.ts';
import { CONSUMER_OPTIONS } from '../../src/options.ts';
import { resolveOptions } from '@tallystick/base';

const KEY = { topic: 'orders', brokerName: 'broker-a', queueId: 0 };

/** One member of an orderly group; the broker answers when told. */
function member() {
  const time = new ManualTime();
  const commits: (() => void)[] = [];
  const locks: ((granted: boolean) => void)[] = [];
  const calls = {
    lock: (keys: readonly (typeof KEY)[], done: (error: undefined, granted: readonly (typeof KEY)[]) => void) =>
      void locks.push((granted) => done(undefined, granted ? keys : [])),
    unlock: () => {},
    commit: (_key: unknown, _offset: number, _answered: boolean, done?: (error: undefined) => void) =>
      void commits.push(() => done?.(undefined)),
    storedOffset: (_key: unknown, done: (error: undefined, offset: number) => void) => done(undefined, 5),
    pull: () => {},
  };
  const ports = { clock: time, timers: time };
  let again = 0;
  const held = new QueueLocks(calls as never, ports, { lockIntervalMs: 100, lockLostMs: 400 }, (key) => assignment.lockLost(key));
  const options = { ...resolveOptions('consumer', CONSUMER_OPTIONS, { group: 'audits', orderly: true }), from: 'first' as const };
  const owner = { startsAtFirst: () => false, tryAgain: () => again++, report: () => {}, pulled: () => {}, moved: () => {} };
  const assignment = new Assignment<unknown>(calls as never, ports, options, held, owner as never);
  return { time, assignment, held, locks, commits, tries: () => again };
}

it('a queue that is taken over again keeps its new lock when the old leave is answered', () => {
  const { time, assignment, held, locks, commits, tries } = member();
  assignment.assign('orders', [KEY]);
  locks.shift()!(true);
  expect(held.holds(KEY, time.monotonic())).toBe(true);
  assignment.lockLost(KEY);
  assignment.assign('orders', [KEY]);
  expect(locks).toEqual([]);
  expect(tries()).toBeGreaterThan(0);
  for (const answer of commits.splice(0)) answer();
  assignment.assign('orders', [KEY]);
  locks.shift()!(true);
  for (const answer of commits.splice(0)) answer();
  expect(held.holds(KEY, time.monotonic())).toBe(true);
});

it('a lock that is granted after its queue was handed back is returned', () => {
  const { time, assignment, held, locks } = member();
  assignment.assign('orders', [KEY]);
  assignment.assign('orders', []);
  locks.shift()!(true);
  expect(held.holds(KEY, time.monotonic())).toBe(false);
});
