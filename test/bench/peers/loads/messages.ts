/**
 * What every load sends: two topics, and from a pool of 4,096 keys and bodies that all differ, so that nothing in anybody's path can
 * be kept from the message before. Bodies and keys run through the pool at different strides.
 */
export const TOPICS = ['bench-orders', 'bench-payments'] as const;
export const QUEUES = 8;
const POOL = 4096;
const SERIAL_DIGITS = 8;

export interface Pool {
  /** `order-0` … */
  readonly keys: readonly string[];
  readonly values: readonly Buffer[];
}

export function pool(bytes: number): Pool {
  const keys: string[] = [];
  const values: Buffer[] = [];
  for (let i = 0; i < POOL; i++) {
    const value = Buffer.alloc(bytes, 97 + (i % 26));
    value.write(String(i).padStart(SERIAL_DIGITS, '0'), 0, 'latin1');
    keys.push(`order-${i}`);
    values.push(value);
  }
  return { keys, values };
}

export function keyOf({ keys }: Pool, n: number): string {
  return keys[n % POOL]!;
}

export function valueOf({ values }: Pool, n: number): Buffer {
  return values[(n * 31) % POOL]!;
}
