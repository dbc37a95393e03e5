import { crc32 } from '@tallystick/base';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CrcSpans } from '../../src/store/crc-spans.ts';

it('any span of what was passed has the checksum that it has alone, behind any other bytes', () => {
  const spans = new CrcSpans();
  const eighths = fc.integer({ min: 0, max: 400 });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 3200, maxLength: 3200 }),
      fc.uint8Array({ maxLength: 20 }),
      fc.integer({ min: 0, max: 2 ** 30 }).map((n) => n * 8),
      fc.array(eighths, { maxLength: 4 }),
      eighths,
      eighths,
      (given, head, start, cuts, one, other) => {
        const bytes = Buffer.from(given);
        spans.begin(start);
        let passed = 0;
        for (const cut of [...cuts.toSorted((a, b) => a - b), 400]) {
          spans.pass(bytes, passed, cut * 8 - passed);
          passed = cut * 8;
        }
        const [from, to] = [Math.min(one, other) * 8, Math.max(one, other) * 8];
        const whole = Buffer.concat([head, bytes.subarray(from, to)]);
        expect(spans.end).toBe(start + bytes.length);
        expect(spans.after(crc32(head), start + from, start + to)).toBe(crc32(whole));
      },
    ),
  );
});
