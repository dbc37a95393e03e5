/**
 * Java's hash of a key, as RocketMQ's SelectMessageQueueByHash uses it: String.hashCode over UTF-16 units for text, Arrays.hashCode
 * over signed bytes for bytes, and the absolute value of the remainder.
 */
export function javaHash(key: string | Uint8Array): number {
  let hash = typeof key === 'string' ? 0 : 1;
  if (typeof key === 'string') {
    for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0;
  } else {
    for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + ((key[i]! << 24) >> 24)) | 0;
  }
  return hash;
}

/** The index among `count` queues for a key with this hash. */
export function javaHashToQueue(hash: number, count: number): number {
  return Math.abs(hash % count);
}
