import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Gate } from '../../src/inbox/gate.ts';

test('shared work runs side by side; work that must be alone has no company, and nobody overtakes it', async () => {
  const gate = new Gate();
  const log: string[] = [];
  const work = (name: string) => async (): Promise<void> => {
    log.push(`+${name}`);
    for (let hop = 0; hop < 5; hop++) await Promise.resolve();
    log.push(`-${name}`);
  };
  await Promise.all([
    gate.shared(work('a')),
    gate.shared(work('b')),
    gate.alone(work('S')),
    gate.shared(work('c')),
    gate.shared(work('d')),
  ]);
  expect(log).toEqual(['+a', '+b', '-a', '-b', '+S', '-S', '+c', '+d', '-c', '-d']);
});

test('work that throws lets the next one in', async () => {
  const gate = new Gate();
  await expect(gate.alone(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await gate.alone(async () => 7)).toBe(7);
});

test('however work comes, alone is alone, and all of it is done', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ alone: fc.boolean(), hops: fc.nat(6) }), { maxLength: 30 }), async (works) => {
      const gate = new Gate();
      let inside = 0;
      let companions = 0;
      let done = 0;
      await Promise.all(
        works.map(({ alone, hops }) =>
          (alone ? gate.alone.bind(gate) : gate.shared.bind(gate))(async () => {
            inside++;
            for (let hop = 0; hop <= hops; hop++) {
              if (alone && inside > 1) companions++;
              await Promise.resolve();
            }
            inside--;
            done++;
          }),
        ),
      );
      expect([companions, done]).toEqual([0, works.length]);
    }),
  );
});
