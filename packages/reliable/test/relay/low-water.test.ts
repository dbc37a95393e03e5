import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BEGINNING, isBefore, LowWater, type Position } from '../../src/relay/low-water.ts';

const at = (sequence: number): Position => ({ dueAt: 0, sequence });

test('the mark follows what was read, falls to what is put back, and a sweep begins at the beginning', () => {
  const mark = new LowWater();
  expect(mark.from).toEqual(BEGINNING);
  mark.read(at(10), false);
  expect([mark.from, mark.sweeping]).toEqual([at(10), false]);
  mark.putBack(at(4));
  expect(mark.from).toEqual(at(3));
  mark.read(at(20), true);
  mark.sweep();
  expect([mark.from, mark.sweeping]).toEqual([BEGINNING, true]);
  mark.read(at(12), false);
  expect([mark.from, mark.sweeping]).toEqual([at(12), true]);
  mark.read(at(20), false);
  expect([mark.from, mark.sweeping]).toEqual([at(20), false]);
});

test('what was skipped for the sake of something in the air is read again when that has landed', () => {
  const mark = new LowWater();
  mark.skipped(at(7));
  mark.skipped(at(5));
  mark.read(at(9), true);
  expect(mark.from).toEqual(at(9));
  mark.landed();
  expect(mark.from).toEqual(at(4));
});

test('what is put back below a sweep under way is read next, and not passed over', () => {
  const mark = new LowWater();
  mark.read(at(20), true);
  mark.sweep();
  mark.read(at(12), false);
  mark.putBack(at(8));
  expect(mark.from).toEqual(at(7));
  mark.read(at(12), false);
  expect([mark.from, mark.sweeping]).toEqual([at(12), false]);
});

test('the floor is where the last row was held back that a sweep still finds so', () => {
  const mark = new LowWater();
  const claim = (last: number, ...held: number[]): number => {
    mark.restart();
    const from = mark.from.sequence;
    for (const sequence of held) mark.heldBack(at(sequence));
    mark.read(at(last), true);
    return from;
  };
  expect([claim(10, 6, 9), claim(10)]).toEqual([-1, 9]);
  mark.sweep();
  expect([claim(10, 6), claim(10)]).toEqual([-1, 6]);
  // A sweep in two pages: until it has arrived the floor stays.
  mark.heldBack(at(20));
  mark.sweep();
  mark.restart();
  mark.heldBack(at(3));
  mark.read(at(10), false);
  mark.restart();
  expect([mark.from, mark.sweeping]).toEqual([at(10), true]);
  mark.read(at(20), true);
  expect([claim(30), mark.sweeping]).toEqual([3, false]);
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
      fc.array(fc.oneof(fc.record({ add: fc.integer({ min: 0, max: 60 }) }), fc.constant('page'), fc.constant('sweep')), {
        maxLength: 60,
      }),
      fc.integer({ min: 1, max: 5 }),
      (steps, limit) => {
        const mark = new LowWater();
        const visible = new Set<number>();
        const page = (): void => {
          const rows = [...visible]
            .filter((n) => isBefore(mark.from, at(n)))
            .sort((a, b) => a - b)
            .slice(0, limit);
          for (const n of rows) visible.delete(n);
          mark.read(rows.length === 0 ? undefined : at(rows.at(-1)!), rows.length < limit);
        };
        for (const step of steps) {
          if (step === 'page') page();
          else if (step === 'sweep') mark.sweep();
          else visible.add(step.add);
        }
        while (mark.sweeping) page();
        mark.sweep();
        while (mark.sweeping) page();
        for (let more = 0; more < 100; more++) page();
        expect([...visible]).toEqual([]);
      },
    ),
  );
});

test('a relay that only ever looked above its mark would lose a row that commits late', () => {
  const mark = new LowWater();
  mark.read(at(10), true);
  const late = at(4);
  expect(isBefore(mark.from, late)).toBe(false);
  mark.sweep();
  expect(isBefore(mark.from, late)).toBe(true);
});
