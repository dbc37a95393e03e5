import { crc32 as native } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copyWords, crc32, readI64, setHexU32, setI64, ViewCache, viewOf } from '../src/index.ts';

describe('bytes in words', () => {
  it('are copied exactly, whatever the length and the addresses', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(9), fc.nat(9), fc.nat(80), (bytes, skip, at, length) => {
        const padded = Uint8Array.from([...new Uint8Array(skip), ...bytes]).subarray(skip);
        const end = Math.min(length, bytes.length);
        const to = new Uint8Array(100).fill(0xee);
        const stop = copyWords(viewOf(padded), 0, end, viewOf(to), at);
        expect(stop).toBe(at + end);
        const wanted = new Uint8Array(100).fill(0xee);
        wanted.set(padded.subarray(0, end), at);
        expect(to).toEqual(wanted);
      }),
    );
  });

  it('hold 64-bit numbers as the byte-wise reader reads them', () => {
    const bytes = new Uint8Array(11);
    for (const value of [0, 1, -1, 0xffffffff, 0x1_0000_0000, -0x1_0000_0001, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
      setI64(viewOf(bytes), 3, value);
      expect(readI64(bytes, 3)).toBe(value);
    }
  });

  it('spell 32-bit numbers in upper-case hex', () => {
    const bytes = Buffer.alloc(9);
    expect(setHexU32(viewOf(bytes), 1, 0xfedcba98 | 0)).toBe(9);
    expect(bytes.toString('latin1', 1)).toBe('FEDCBA98');
    setHexU32(viewOf(bytes), 1, 0x0123_4567);
    expect(bytes.toString('latin1', 1)).toBe('01234567');
  });

  it('are summed to the CRC of zlib at every length and address', () => {
    const bytes = Buffer.from(Array.from({ length: 700 }, (_, n) => (n * 197 + (n >> 3)) & 255));
    for (let length = 0; length < 340; length++) {
      const start = length % 13;
      expect(crc32(bytes, start, start + length, length)).toBe(native(bytes.subarray(start, start + length), length));
    }
  });

  it('are seen through one view as long as the bytes stay the same', () => {
    const views = new ViewCache();
    const [first, second] = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5, 6)];
    expect(views.of(first)).toBe(views.of(first));
    expect(views.of(second).getUint8(1)).toBe(5);
    expect(views.of(first).getUint8(1)).toBe(2);
  });
});
