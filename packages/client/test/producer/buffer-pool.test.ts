import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../src/producer/buffer-pool.ts';
import { noMemoryOnce } from './sent.ts';

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

  it('takes nothing into account that the process could not give', () => {
    const pool = new BufferPool(4096, 1024);
    noMemoryOnce(1024);
    expect(() => pool.borrow(1000)).toThrow('no memory for the buffer of the record: 1024 bytes');
    expect([pool.lentBytes, pool.borrow(4096)!.length]).toEqual([0, 4096]);
  });

  it('says at once when a size can never be lent', () => {
    const pool = new BufferPool(4096, 1024);
    expect([pool.canEverLend(4096), pool.canEverLend(4097)]).toEqual([true, false]);
  });

  it('lends to measure what only a size beyond all its memory would hold', () => {
    const pool = new BufferPool(5000, 32 * 1024);
    expect(pool.canEverLend(4500)).toBe(true);
    const buffer = pool.borrow(4500)!;
    expect(buffer.length).toBe(4500);
    pool.return(buffer);
    expect([pool.lentBytes, pool.borrow(5000)!.length]).toEqual([0, 5000]);
  });

  it('lends what is liked rather than what is needed while there is memory for it, and never less than needed', () => {
    const pool = new BufferPool(20 * 1024, 16 * 1024);
    expect(pool.borrowUpTo(100, 10_000)!.length).toBe(16 * 1024);
    expect(pool.borrowUpTo(100, 10_000)!.length).toBe(1024);
    const large = new BufferPool(1e6, 16 * 1024);
    expect(large.borrowUpTo(20_000, 50_000)!.length).toBe(20_000);
    expect(large.borrowUpTo(100, 50_000)!.length).toBe(16 * 1024);
  });

  it('lends what is needed when the process has no memory for what is liked', () => {
    const pool = new BufferPool(40 * 1024, 16 * 1024);
    noMemoryOnce(16 * 1024);
    expect(pool.borrowUpTo(100, 10_000)!.length).toBe(1024);
    expect([pool.lentBytes, pool.borrowUpTo(100, 10_000)!.length]).toEqual([1024, 16 * 1024]);
  });

  it('never lends one buffer twice and keeps its account over random borrowing', () => {
    const step = fc.record({
      borrow: fc.boolean(),
      liked: fc.integer({ min: 0, max: 40_000 }),
      bytes: fc.integer({ min: 1, max: 20_000 }),
      which: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const pool = new BufferPool(50_000, 8192);
        const lent: Buffer[] = [];
        for (const { borrow, bytes, liked, which } of steps) {
          if (borrow) {
            const buffer = pool.borrowUpTo(bytes, liked);
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
