import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 as nativeCrc32 } from 'node:zlib';
import {
  crc32,
  fromHex,
  readDecimal,
  readI16,
  readI32,
  readI64,
  readU16,
  readU32,
  toHex,
  writeDecimal,
  writeHexU32,
  writeI32,
  writeI64,
  writeU16,
} from '../src/index.ts';

const bytes = Buffer.alloc(32);

describe('numbers in bytes', () => {
  it('are the same as DataView reads and writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (eight) => {
        const view = new DataView(eight.buffer);
        expect(readU16(eight, 1)).toBe(view.getUint16(1));
        expect(readI16(eight, 1)).toBe(view.getInt16(1));
        expect(readI32(eight, 2)).toBe(view.getInt32(2));
        expect(readU32(eight, 2)).toBe(view.getUint32(2));
        expect(readI64(eight, 0)).toBe(Number(view.getBigInt64(0)));
      }),
    );
  });

  it('read back what was written, negative ones included', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        writeI64(bytes, 3, value);
        expect(readI64(bytes, 3)).toBe(value);
        writeI32(bytes, 3, value | 0);
        expect(readI32(bytes, 3)).toBe(value | 0);
        writeU16(bytes, 3, value & 0xffff);
        expect(readU16(bytes, 3)).toBe(value & 0xffff);
      }),
    );
  });

  it('as decimal text are those of String', () => {
    const integer = fc.oneof(
      fc.maxSafeInteger(),
      fc.integer(),
      fc.constantFrom(0, -1, 999_999_999, 1_000_000_000, 2 ** 31, 10 ** 15, Number.MAX_SAFE_INTEGER),
    );
    fc.assert(
      fc.property(integer, (value) => {
        const end = writeDecimal(bytes, 2, value);
        expect(bytes.toString('latin1', 2, end)).toBe(String(value));
        expect(readDecimal(bytes, 2, end)).toBe(value);
      }),
    );
  });

  it.each(['', '-', '1a', 'a', '1.5', '+1', ' 1', '12345678901234567890'])('decimal text "%s" is no number', (text) => {
    const found = Buffer.from(text);
    expect(readDecimal(found, 0, found.length)).toBeNaN();
  });

  it('2^63-1, which tools send for "no end", reads as about that', () => {
    const text = Buffer.from('9223372036854775807');
    expect(readDecimal(text, 0, text.length)).toBeCloseTo(2 ** 63, -5);
  });
});

describe('hex', () => {
  it('is upper-case and reads back', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (some) => {
        expect(toHex(some)).toBe(Buffer.from(some).toString('hex').toUpperCase());
        expect(fromHex(toHex(some))).toEqual(some);
      }),
    );
  });

  it.each(['0', 'zz', '0x', ' 00'])('"%s" is none', (text) => {
    expect(fromHex(text)).toBeUndefined();
  });

  it('of a 32-bit value has eight digits', () => {
    expect(writeHexU32(bytes, 0, 0x00ab12ff)).toBe(8);
    expect(bytes.toString('latin1', 0, 8)).toBe('00AB12FF');
  });
});

describe('crc32', () => {
  it("is zlib's at every length, over any range, in one go or continued", () => {
    const range = fc.tuple(fc.uint8Array({ maxLength: 700 }), fc.nat(700), fc.nat(700));
    fc.assert(
      fc.property(range, ([some, a, b]) => {
        const start = Math.min(a, b, some.length);
        const end = Math.min(Math.max(a, b), some.length);
        expect(crc32(some, start, end)).toBe(nativeCrc32(some.subarray(start, end)));
        expect(crc32(some, start, some.length, crc32(some, 0, start))).toBe(nativeCrc32(some));
      }),
    );
  });

  it('of the check string is the published value', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  });
});
