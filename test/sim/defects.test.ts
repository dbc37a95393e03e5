import { describe, expect, it } from 'vitest';
import { DEFECTS, huntDefect } from './defects.ts';

describe('defects built in on purpose', () => {
  it('are at least twelve', () => {
    expect(DEFECTS.length).toBeGreaterThanOrEqual(12);
  });

  it.each(DEFECTS.map((defect) => [defect.name, defect] as const))('%s is caught', (_name, defect) => {
    const hunt = huntDefect(defect, defect.budget, defect.from);
    expect(hunt.caughtBy, `not caught in ${hunt.schedules} schedules; npm run sim -- --defect ${defect.name}`).toBeDefined();
  });
});
