import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BEGINNING, isBefore, LowWater, type Position } from '../../src/relay/low-water.ts';

const at = (sequence: number): Position => ({ dueAt: 0, sequence });

test('the mark follows what was read and falls to what is put back; a sweep goes beside it, up to where it stood', () => {
  const mark = new LowWater();
  expect(mark.from).toEqual(BEGINNING);
  mark.sweep('whole');
  expect(mark.sweptTo('whole')).toBeUndefined();
  mark.read(at(10));
  expect(mark.from).toEqual(at(10));
  mark.putBack(at(4));
  expect(mark.from).toEqual(at(3));
  mark.read(at(20));
  mark.sweep('whole');
  expect([mark.from, mark.sweptTo('whole')]).toEqual([at(20), BEGINNING]);
  mark.swept('whole', at(12), false);
  mark.read(at(30));
  expect([mark.from, mark.sweptTo('whole')]).toEqual([at(30), at(12)]);
  mark.swept('whole', at(20), false);
  expect([mark.from, mark.sweptTo('whole')]).toEqual([at(30), undefined]);
});

test('two sweeps go on beside each other', () => {
  const mark = new LowWater();
  mark.read(at(20));
  mark.sweep('whole');
  mark.swept('whole', at(5), false);
  mark.sweep('late', at(15));
  mark.sweep('late', at(1));
  expect([mark.sweptTo('whole'), mark.sweptTo('late')]).toEqual([at(5), at(15)]);
  mark.swept('late', undefined, true);
  expect([mark.sweptTo('whole'), mark.sweptTo('late')]).toEqual([at(5), undefined]);
  mark.sweep('late', at(20));
  expect(mark.sweptTo('late')).toBeUndefined();
});

test('what was skipped for the sake of something in the air is read again when that has landed', () => {
  const mark = new LowWater();
  mark.skipped(at(7));
  mark.skipped(at(5));
  mark.read(at(9));
  expect(mark.from).toEqual(at(9));
  mark.landed();
  expect(mark.from).toEqual(at(4));
});

test('what is put back below a sweep under way is read next, and the sweep has arrived', () => {
  const mark = new LowWater();
  mark.read(at(20));
  mark.sweep('whole');
  mark.swept('whole', at(12), false);
  mark.putBack(at(16));
  expect([mark.from, mark.sweptTo('whole')]).toEqual([at(15), at(12)]);
  mark.putBack(at(8));
  expect([mark.from, mark.sweptTo('whole')]).toEqual([at(7), undefined]);
});

test('the floor is where the last row was held back that a sweep still finds so', () => {
  const mark = new LowWater();
  const claim = (last: number, ...held: number[]): number => {
    mark.restart();
    const from = mark.from.sequence;
    for (const sequence of held) mark.heldBack(at(sequence));
    mark.read(at(last));
    return from;
  };
  const sweep = (last: number, ...held: number[]): void => {
    for (const sequence of held) mark.heldBack(at(sequence));
    mark.swept('whole', at(last), false);
  };
  expect([claim(10, 6, 9), claim(10)]).toEqual([-1, 9]);
  mark.restart();
  mark.sweep('whole');
  sweep(9, 6);
  expect([claim(10), claim(10)]).toEqual([6, 6]);
  // A sweep in two pages: until it has arrived the floor stays.
  mark.heldBack(at(20));
  mark.restart();
  mark.read(at(20));
  mark.sweep('whole');
  sweep(10, 3);
  expect([claim(20), mark.sweptTo('whole')]).toEqual([20, at(10)]);
  sweep(20);
  expect([claim(30), mark.sweptTo('whole')]).toEqual([3, undefined]);
  mark.freed();
  expect(claim(30)).toBe(-1);
});

/**
 * A model: rows become visible at any time and place, a claimer reads pages by the mark and takes what it sees. Whatever the order, a
 * sweep that begins after the last row became visible finds it: that, and not the mark, is what the relay relies on.
 */
test('however late and low a row becomes visible, the next whole sweep finds it', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ add: fc.integer({ min: 0, max: 60 }) }),
          fc.record({ putBack: fc.integer({ min: 0, max: 60 }) }),
          fc.constantFrom('page', 'sweep', 'sweep on'),
        ),
        { maxLength: 60 },
      ),
      fc.integer({ min: 1, max: 5 }),
      (steps, limit) => {
        const mark = new LowWater();
        const visible = new Set<number>();
        const above = (from: Position): number[] => {
          const rows = [...visible]
            .filter((n) => isBefore(from, at(n)))
            .sort((a, b) => a - b)
            .slice(0, limit);
          for (const n of rows) visible.delete(n);
          return rows;
        };
        const last = (rows: number[]): Position | undefined => (rows.length === 0 ? undefined : at(rows.at(-1)!));
        const page = (): void => mark.read(last(above(mark.from)));
        const sweepOn = (): void => {
          const from = mark.sweptTo('whole');
          if (from === undefined) return;
          const rows = above(from);
          mark.swept('whole', last(rows), rows.length < limit);
        };
        for (const step of steps) {
          if (step === 'page') page();
          else if (step === 'sweep') mark.sweep('whole');
          else if (step === 'sweep on') sweepOn();
          else if ('add' in step) visible.add(step.add);
          else {
            visible.add(step.putBack);
            mark.putBack(at(step.putBack));
          }
        }
        while (mark.sweptTo('whole') !== undefined) sweepOn();
        mark.sweep('whole');
        while (mark.sweptTo('whole') !== undefined) sweepOn();
        for (let more = 0; more < 100; more++) page();
        expect([...visible]).toEqual([]);
      },
    ),
  );
});

test('a relay that only ever looked above its mark would lose a row that commits late', () => {
  const mark = new LowWater();
  mark.read(at(10));
  const late = at(4);
  expect(isBefore(mark.from, late)).toBe(false);
  mark.sweep('whole');
  expect(isBefore(mark.sweptTo('whole')!, late)).toBe(true);
});

test('a sweep whose page was not looked at, because the batch was full, goes on where it was', () => {
  const mark = new LowWater();
  mark.read(at(20));
  mark.sweep('late', at(5));
  mark.swept('late', undefined, false);
  expect(mark.sweptTo('late')).toEqual(at(5));
  mark.swept('late', undefined, true);
  expect(mark.sweptTo('late')).toBeUndefined();
});
