/**
 * Kafka's hash of a record key (murmur2, seed 0x9747b28c), so that a key lands on the same queue number as it would on the
 * partition of a Kafka topic with as many partitions. `keyToQueue` masks the sign bit as Kafka does; `>>> 0` would give another
 * queue for half of the keys whenever the count is not a power of two.
 */

const SEED = 0x9747b28c;
const M = 0x5bd1e995;

/** Signed 32-bit murmur2 of `bytes[start, end)`. */
export function murmur2(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  let hash = SEED ^ length;
  let at = start;
  for (const last = start + (length & ~3); at < last; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    word = Math.imul(word, M);
    word ^= word >>> 24;
    hash = Math.imul(hash, M) ^ Math.imul(word, M);
  }
  const rest = end - at;
  if (rest === 3) hash ^= bytes[at + 2]! << 16;
  if (rest >= 2) hash ^= bytes[at + 1]! << 8;
  if (rest >= 1) hash = Math.imul(hash ^ bytes[at]!, M);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, M);
  return hash ^ (hash >>> 15);
}

/** The index among `count` queues for a key with this hash. */
export function keyToQueue(hash: number, count: number): number {
  return (hash & 0x7fffffff) % count;
}
