import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defectTable } from '../../src/demo/defects.ts';
import { faultTable } from '../../src/demo/faults.ts';
import { openingsOfA, pathOf, plannedFaults, transferOf, type PlanOptions } from '../../src/demo/plan.ts';

const options = fc.record({
  seed: fc.integer({ min: 0, max: 0xffffffff }),
  transfers: fc.integer({ min: 50, max: 5_000 }),
  path: fc.constantFrom('both' as const, 'half' as const, 'outbox' as const),
});

describe('the plan of a run', () => {
  it('is the same for the same seed, in every process', () => {
    fc.assert(
      fc.property(options, fc.integer({ min: 1, max: 50 }), (given, number) => {
        expect(plannedFaults({ ...given })).toEqual(plannedFaults({ ...given }));
        expect(transferOf({ ...given }, number)).toEqual(transferOf({ ...given }, number));
        expect(openingsOfA({ ...given })).toEqual(openingsOfA({ ...given }));
      }),
    );
  });

  it('differs between seeds', () => {
    const faults = (seed: number) => JSON.stringify(plannedFaults({ seed, transfers: 400, path: 'both' }));
    expect(new Set([1, 2, 3, 4, 5].map(faults)).size).toBe(5);
  });

  it('fires every fault that the path can have, at a transfer of a path that can have it', () => {
    fc.assert(
      fc.property(options, (given) => {
        const planned = plannedFaults(given);
        for (const row of faultTable) {
          const possible = given.path === 'both' || (row.paths as readonly string[]).includes(given.path);
          expect(planned.some(({ name }) => name === row.name)).toBe(possible);
        }
        for (const { at, path, name } of planned) {
          const taken = pathOf(given, at);
          expect(path === undefined || taken === path).toBe(true);
          expect(faultTable.find((row) => row.name === name)!.paths as readonly string[]).toContain(taken);
        }
      }),
    );
  });

  it('leaves the last fifth of the transfers for what has to be repeated, and gives each fault a transfer of its own', () => {
    fc.assert(
      fc.property(options, (given) => {
        const numbers = plannedFaults(given).map(({ at }) => at);
        expect(new Set(numbers).size).toBe(numbers.length);
        for (const at of numbers) {
          expect(at).toBeGreaterThanOrEqual(1);
          expect(at).toBeLessThanOrEqual(given.transfers * 0.8);
        }
      }),
    );
  });

  it('poisons exactly one transfer', () => {
    const given: PlanOptions = { seed: 7, transfers: 400, path: 'both' };
    const poisoned = Array.from({ length: 400 }, (_, i) => transferOf(given, i + 1)).filter(({ poison }) => poison);
    expect(poisoned).toHaveLength(1);
  });

  it('sends half of the transfers by half message and half by outbox', () => {
    const paths = Array.from({ length: 400 }, (_, i) => pathOf({ seed: 1, transfers: 400, path: 'both' }, i + 1));
    expect(paths.filter((path) => path === 'half')).toHaveLength(200);
  });

  it('plans only the exposing fault when a defect is built in', () => {
    for (const { name, exposedBy } of defectTable) {
      const planned = plannedFaults({ seed: 3, transfers: 60, path: 'both', defect: name });
      expect(planned.map((fault) => fault.name)).toEqual([exposedBy]);
    }
  });

  it('opens accounts that can pay whatever is asked of them', () => {
    const given: PlanOptions = { seed: 11, transfers: 300, path: 'half' };
    const owed = new Map<string, number>();
    for (let number = 1; number <= 300; number++) {
      const { from, amountMinor } = transferOf(given, number);
      expect(Number.isSafeInteger(amountMinor) && amountMinor > 0).toBe(true);
      owed.set(from, (owed.get(from) ?? 0) + amountMinor);
    }
    for (const { id, openingMinor } of openingsOfA(given)) expect(openingMinor).toBeGreaterThanOrEqual(owed.get(id) ?? 0);
  });
});
