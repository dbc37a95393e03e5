import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allocateAverage } from '../../src/consumer/allocate.ts';

const queues = (count: number): string[] => Array.from({ length: count }, (_, n) => `q${n}`);
const members = (count: number): string[] => Array.from({ length: count }, (_, n) => `c${n}`);

describe('averaging allocation', () => {
  it.each([
    // queues, members, what each member gets: RocketMQ's own examples
    [8, 3, ['q0 q1 q2', 'q3 q4 q5', 'q6 q7']],
    [4, 2, ['q0 q1', 'q2 q3']],
    [5, 2, ['q0 q1 q2', 'q3 q4']],
    [10, 4, ['q0 q1 q2', 'q3 q4 q5', 'q6 q7', 'q8 q9']],
    [3, 5, ['q0', 'q1', 'q2', '', '']],
    [1, 1, ['q0']],
    [0, 2, ['', '']],
  ])('gives %i queues to %i members as the Java client does', (queueCount, memberCount, shares) => {
    const got = members(memberCount).map((self) => allocateAverage(queues(queueCount), members(memberCount), self).join(' '));
    expect(got).toEqual(shares);
  });

  it('gives nothing to a client the broker does not list', () => {
    expect(allocateAverage(queues(4), ['other'], 'me')).toEqual([]);
  });

  it('sorts members by UTF-16 units and forgets repeated ones', () => {
    expect(allocateAverage(queues(2), ['b', 'B', 'b'], 'B')).toEqual(['q0']);
  });

  it('gives every queue to exactly one member, and shares differ by one at most', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 64 }), fc.integer({ min: 1, max: 20 }), (queueCount, memberCount) => {
        const shares = members(memberCount).map((self) => allocateAverage(queues(queueCount), members(memberCount), self));
        expect(shares.flat().sort()).toEqual(queues(queueCount).sort());
        const sizes = shares.map((share) => share.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });
});
