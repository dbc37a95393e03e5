import { describe, expect, test } from 'vitest';
import { again } from '../../src/sql/retry.ts';

describe('a whole transaction', () => {
  test.each([
    ['a serialization failure', '40001'],
    ['a deadlock', '40P01'],
    ['a lock that was not to be had in time', '55P03'],
    ['a statement that took too long', '57014'],
    ['what Prisma calls a conflict', 'P2034'],
  ])('is run again after %s, as often as it is said, and no more', async (_name, code) => {
    let runs = 0;
    const error = Object.assign(new Error('gave way'), { code });
    const fails = (times: number) => async () => {
      if (++runs <= times) throw error;
      return runs;
    };
    expect(await again(fails(2), { retries: 2 })).toBe(3);
    runs = 0;
    await expect(again(fails(3), { retries: 2 })).rejects.toBe(error);
    expect(runs).toBe(3);
    runs = 0;
    await expect(again(fails(1), {})).rejects.toBe(error);
  });

  test.each(['23505', '57P01', '08006', 'ECONNRESET'])('is not run again after %s, however often it may be', async (code) => {
    let runs = 0;
    const error = Object.assign(new Error('no'), { code });
    await expect(again(() => (runs++, Promise.reject(error)), { retries: 5 })).rejects.toBe(error);
    expect(runs).toBe(1);
  });
});
