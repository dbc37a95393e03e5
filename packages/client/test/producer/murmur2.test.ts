import { expect, it } from 'vitest';
import { keyToQueue, murmur2 } from '../../src/producer/murmur2.ts';

it.each([
  // Kafka's own vectors
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('hashes %s as Kafka does', (text, hash) => {
  const bytes = Buffer.from(text);
  expect(murmur2(bytes, 0, bytes.length)).toBe(hash);
});

it('hashes a slice like the same bytes alone', () => {
  const bytes = Buffer.from('xxfoobaryy');
  expect(murmur2(bytes, 2, 8)).toBe(-790332482);
});

it('masks the sign instead of shifting it away', () => {
  expect(keyToQueue(-973932308, 12)).toBe((-973932308 & 0x7fffffff) % 12);
});
