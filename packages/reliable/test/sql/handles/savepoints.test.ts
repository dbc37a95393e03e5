import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Savepoints } from '../../../src/sql/handles/savepoints.ts';

type Step = { readonly does: 'save' | 'release' | 'undo' | 'do'; readonly name: string };

const step: fc.Arbitrary<Step> = fc.record({
  does: fc.constantFrom('save', 'release', 'undo', 'do', 'do'),
  name: fc.constantFrom('a', 'b', 'c'),
});

test('what is undone is what a database would have undone, wherever somebody began to watch', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.nat(10), (steps, watchedFrom) => {
      const savepoints = new Savepoints();
      const undone = new Set<number>();
      // The model holds the work itself: a copy of it at every savepoint.
      let stack: { readonly name: string; readonly work: readonly number[] }[] = [];
      let work: number[] = [];
      const done: number[] = [];
      steps.forEach(({ does, name }, i) => {
        const watched = i >= watchedFrom;
        const at = stack.findLastIndex((one) => one.name === name);
        if (does === 'do') {
          work.push(i);
          if (!watched) return;
          done.push(i);
          savepoints.whenUndone(() => void undone.add(i));
        } else if (does === 'save') {
          stack.push({ name, work: [...work] });
          if (watched) savepoints.made(name);
        } else if (at >= 0 && does === 'undo') {
          work = [...stack[at]!.work];
          stack = stack.slice(0, at + 1);
          if (watched) savepoints.undone(name);
        } else if (at >= 0) {
          stack = stack.slice(0, at);
          if (watched) savepoints.released(name);
        }
      });
      expect(done.filter((i) => !undone.has(i))).toEqual(done.filter((i) => work.includes(i)));
    }),
    { numRuns: 2_000 },
  );
});

test('a savepoint without a readable name counts as around everything', () => {
  const savepoints = new Savepoints();
  const undone: string[] = [];
  savepoints.made('a');
  savepoints.whenUndone(() => void undone.push('x'));
  savepoints.undone(undefined);
  savepoints.undone('a');
  expect(undone).toEqual(['x']);
});

test('what came after the statement that rolls back is not undone by its answer', () => {
  const savepoints = new Savepoints();
  const undone: string[] = [];
  savepoints.made('a');
  savepoints.whenUndone(() => void undone.push('before'));
  const before = savepoints.here();
  savepoints.whenUndone(() => void undone.push('after'));
  savepoints.undone('a', before);
  expect(undone).toEqual(['before']);
});
