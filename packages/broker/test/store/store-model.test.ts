import { describe, expect, it } from 'vitest';
import { live, Model } from './model.ts';

const SEEDS = 60;

describe('a store against a list', () => {
  for (const flush of ['sync', 'async'] as const) {
    it(`holds a lawful prefix after any crash (${flush})`, () => {
      const seen = new Map<string, number>();
      for (let seed = 1; seed <= SEEDS; seed++) {
        try {
          const model = live(seed, { flush }, 150);
          for (const [what, count] of model.seen) seen.set(what, (seen.get(what) ?? 0) + count);
        } catch (error) {
          throw new Error(`live(${seed}, { flush: '${flush}' }, 150)`, { cause: error });
        }
      }
      for (const what of ['ok', 'read', 'kill', 'power', 'lost']) expect(seen.get(what) ?? 0, what).toBeGreaterThan(SEEDS / 4);
    });
  }

  it.each(['kill', 'power'] as const)('survives a %s at every single disk call of a scripted life', (kind) => {
    const options = { flush: 'sync' } as const;
    const script = (crashAt?: { calls: readonly number[]; kind: 'kill' | 'power' }): Model => live(7, options, 60, crashAt);
    const { calls } = script().machine.disk;
    for (let call = 0; call < calls; call++) {
      try {
        script({ calls: [call], kind });
      } catch (error) {
        throw new Error(`crash at call ${call} of ${calls}`, { cause: error });
      }
    }
    expect(calls).toBeGreaterThan(100);
  });
});
