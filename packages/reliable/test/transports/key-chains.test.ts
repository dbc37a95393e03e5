import { describe, expect, it } from 'vitest';
import { publishInChains } from '../../src/transports/key-chains.ts';
import type { OutgoingMessage, PublishOutcome, PublishResult } from '../../src/index.ts';

const message = (id: string, key?: string): OutgoingMessage => ({ id, topic: 't', key, body: Buffer.alloc(1) });

describe('messages of one key in a batch', () => {
  it('leave one behind the other, other keys beside them', async () => {
    const sent: string[] = [];
    const waiting = new Map<string, (outcome: PublishOutcome) => void>();
    const answer = (id: string, outcome: PublishResult = 'confirmed'): void => waiting.get(id)!({ outcome });
    const batch = [message('a1', 'a'), message('b1', 'b'), message('a2', 'a'), message('x'), message('a3', 'a'), message('y')];
    const outcomes = publishInChains(batch, ({ id }, done) => (sent.push(id), void waiting.set(id, done)));
    expect(sent).toEqual(['a1', 'b1', 'x', 'y']);
    answer('a1');
    expect(sent.at(-1)).toBe('a2');
    answer('x', 'rejected');
    answer('a2', 'unknown');
    answer('y');
    answer('b1');
    expect((await outcomes).map(({ outcome }) => outcome)).toEqual([
      'confirmed',
      'confirmed',
      'unknown',
      'rejected',
      'unavailable',
      'confirmed',
    ]);
    expect(sent).not.toContain('a3');
  });

  it('do not grow the stack when they are answered at once', async () => {
    const batch = Array.from({ length: 3_000 }, (_, n) => message(String(n), 'k'));
    const outcomes = await publishInChains(batch, (_, done) => done({ outcome: 'confirmed' }));
    expect(outcomes).toHaveLength(3_000);
  });

  it('an empty batch has no outcomes', async () => {
    expect(await publishInChains([], () => undefined)).toEqual([]);
  });
});
