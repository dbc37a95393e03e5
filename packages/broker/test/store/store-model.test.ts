import { describe, expect, it } from 'vitest';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import { live, type Model } from './model.ts';

const SEEDS = 30;

describe('a store against a list', () => {
  const kinds: Record<string, { options: GivenStoreOptions; sees: readonly string[] }> = {
    synchronous: { options: { flush: 'sync' }, sees: ['ok', 'read', 'kill', 'power', 'lost', 'full'] },
    asynchronous: { options: { flush: 'async' }, sees: ['ok', 'read', 'kill', 'power', 'lost', 'full'] },
    'asynchronous with a transient store pool': {
      options: {
        flush: 'async',
        transientStorePoolEnable: true,
        transientStorePoolSize: 3,
        transientStorePoolBufferBytes: 4096,
        commitCommitLogLeastPages: 1,
        commitIntervalCommitLog: 20,
      },
      sees: ['ok', 'read', 'kill', 'power', 'lost', 'full', 'acked and lost by a kill'],
    },
    'tiny segments, old ones deleted': {
      options: { flush: 'sync', segmentBytes: 8 * 1024, storeMaxBytes: 40 * 1024, retentionIntervalMs: 20 },
      sees: ['ok', 'read', 'kill', 'power', 'full'],
    },
  };

  it.each(Object.keys(kinds))('holds a lawful prefix after any crash (%s)', (kind) => {
    const { options, sees } = kinds[kind]!;
    const seen = new Map<string, number>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const model = naming(`live(${seed}, ${JSON.stringify(options)}, 200)`, () => live(seed, options, 200));
      for (const [what, count] of model.seen) seen.set(what, (seen.get(what) ?? 0) + count);
    }
    for (const what of sees) expect(seen.get(what) ?? 0, what).toBeGreaterThan(SEEDS / 5);
  });

  const script = (crashAt?: { calls: readonly number[]; kind: 'kill' | 'power' }): Model =>
    live(7, { flush: 'sync' }, 60, crashAt);
  const calls = (): number => script().machine.disk.calls;

  it.each(['kill', 'power'] as const)('survives a %s at every single disk call of a scripted life', (kind) => {
    const count = calls();
    for (let call = 0; call < count; call++) naming(`${kind} at call ${call}`, () => script({ calls: [call], kind }));
    expect(count).toBeGreaterThan(100);
  });

  it.each(['kill', 'power'] as const)(
    'survives a %s at any call, and again in the recovery after it, and in the one after that',
    (kind) => {
      const count = calls();
      for (let call = 0; call < count; call += 2) {
        const nested = [call, call + 6 + (call % 17), call + 30 + (call % 23)];
        naming(`${kind} at calls ${nested.join(', ')}`, () => script({ calls: nested, kind }));
      }
    },
  );
});

/** What failed is said by how to repeat it. */
function naming<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new Error(what, { cause: error });
  }
}
