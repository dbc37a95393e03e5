import { describe, expect, it } from 'vitest';
import { peek, serialOf } from '../../src/demo/frames.ts';

function jsonFrame(header: object, body = ''): Buffer {
  return frameOf(0, Buffer.from(JSON.stringify(header)), Buffer.from(body));
}

function binaryFrame(code: number, flag: number, opaque: number, remark: string, fields: Record<string, string>): Buffer {
  const entries = Object.entries(fields).map(([key, value]) => {
    const entry = Buffer.alloc(6 + key.length + value.length);
    entry.writeUInt16BE(key.length, 0);
    entry.write(key, 2);
    entry.writeInt32BE(value.length, 2 + key.length);
    entry.write(value, 6 + key.length);
    return entry;
  });
  const fixed = Buffer.alloc(13);
  fixed.writeUInt16BE(code, 0);
  fixed.writeUInt8(7, 2);
  fixed.writeUInt16BE(479, 3);
  fixed.writeInt32BE(opaque, 5);
  fixed.writeInt32BE(flag, 9);
  const length = (n: number) => Buffer.from([n >>> 24, n >>> 16, n >>> 8, n]);
  const ext = Buffer.concat(entries);
  return frameOf(1, Buffer.concat([fixed, length(remark.length), Buffer.from(remark), length(ext.length), ext]), Buffer.alloc(0));
}

function frameOf(kind: number, header: Buffer, body: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + header.length + body.length, 0);
  head.writeUInt32BE((kind << 24) | header.length, 4);
  return Buffer.concat([head, header, body]);
}

describe('what a proxy reads from a frame', () => {
  it.each([
    ['JSON', jsonFrame({ code: 37, opaque: 9, flag: 2, extFields: { transactionId: 'ABC', commitOrRollback: '8' } }, 'body')],
    ['binary', binaryFrame(37, 2, 9, '', { transactionId: 'ABC', commitOrRollback: '8' })],
    ['binary with a remark', binaryFrame(37, 2, 9, 'why', { transactionId: 'ABC', commitOrRollback: '8' })],
  ])('is the same for a %s header', (_, frame) => {
    const seen = peek(frame)!;
    expect(seen).toMatchObject({ code: 37, opaque: 9, isResponse: false, isOneway: true });
    expect(seen.fields().get('commitOrRollback')).toBe('8');
    expect(serialOf(seen)).toBe('ABC');
  });

  it('is nothing when the header is broken', () => {
    expect(peek(Buffer.alloc(3))).toBeUndefined();
    expect(peek(frameOf(0, Buffer.from('{no'), Buffer.alloc(0)))).toBeUndefined();
    expect(peek(frameOf(1, Buffer.alloc(5), Buffer.alloc(0)))).toBeUndefined();
    const short = jsonFrame({ code: 1 });
    short.writeUInt32BE(0xffff, 4);
    expect(peek(short)).toBeUndefined();
  });
});
