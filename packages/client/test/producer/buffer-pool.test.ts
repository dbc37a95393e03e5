import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../src/producer/buffer-pool.ts';

describe('buffer pool', () => {
  it('lends the next size up and takes buffers back for reuse', () => {
    const pool = new BufferPool(64 * 1024, 16 * 1024);
    const first = pool.borrow(10)!;
    expect(first.length).toBe(1024);
    pool.return(first);
    expect(pool.borrow(1000)).toBe(first);
  });

  it('lends nothing beyond its memory, and lends again after a return', () => {
    const pool = new BufferPool(2048, 1024);
    const [a, b] = [pool.borrow(1024)!, pool.borrow(1024)!];
    expect(pool.borrow(1)).toBeUndefined();
    pool.return(a);
    expect(pool.borrow(1)).toBeDefined();
    expect(b.length).toBe(1024);
  });

  it('says at once when a size can never be lent', () => {
    const pool = new BufferPool(4096, 1024);
    expect([pool.canEverLend(4096), pool.canEverLend(4097)]).toEqual([true, false]);
  });

  it('never lends one buffer twice and keeps its account over random borrowing', () => {
    const step = fc.record({ borrow: fc.boolean(), bytes: fc.integer({ min: 1, max: 20_000 }), which: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const pool = new BufferPool(50_000, 8192);
        const lent: Buffer[] = [];
        for (const { borrow, bytes, which } of steps) {
          if (borrow) {
            const buffer = pool.borrow(bytes);
            if (buffer === undefined) continue;
            expect(buffer.length).toBeGreaterThanOrEqual(bytes);
            expect(lent).not.toContain(buffer);
            lent.push(buffer);
          } else if (lent.length > 0) pool.return(lent.splice(which % lent.length, 1)[0]!);
          expect(pool.lentBytes).toBe(lent.reduce((sum, buffer) => sum + buffer.length, 0));
          expect(pool.lentBytes).toBeLessThanOrEqual(pool.totalBytes);
        }
      }),
    );
  });
});
