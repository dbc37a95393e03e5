import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeAnswer,
  decodeHeader,
  Frame,
  FrameReader,
  LANGUAGES,
  Output,
  parseFrame,
  writeFrame,
  type CommandName,
  type FrameHead,
} from '../src/index.ts';

const LIMITS = { frameBytesMax: 1 << 20, headerBytesMax: 1 << 16 };

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('UNIQ_KEY\u0001A1\u0002TAGS\u0001a\u0002', '"\\/\b\f\n\r\t', '😀', '\u2028'),
);
const wellFormed = text.map((some) => Buffer.from(some).toString());

const head = fc.record({
  kind: fc.constantFrom(0 as const, 1 as const),
  code: fc.integer({ min: -32768, max: 32767 }),
  flag: fc.integer({ min: 0, max: 3 }),
  opaque: fc.integer(),
  language: fc.nat(13),
  version: fc.nat(32767),
  remark: fc.option(
    wellFormed.filter((some) => some !== ''),
    { nil: undefined },
  ),
});

const fields = fc.uniqueArray(
  fc.tuple(
    wellFormed.filter((some) => some.length > 0 && some.length < 50),
    wellFormed.filter((some) => some !== ''),
  ),
  { selector: ([name]) => name, maxLength: 40 },
);

function encode(frameHead: FrameHead, pairs: readonly (readonly [string, string])[] | undefined, body: Uint8Array): Buffer {
  const out = new Output();
  writeFrame(out, frameHead, pairs === undefined ? undefined : new Map(pairs), body);
  const chunks: Buffer[] = [];
  out.take((chunk) => chunks.push(chunk));
  return Buffer.concat(chunks);
}

/** What a reader saw, as plain values. */
function seen(frame: Frame) {
  const { code, flag, opaque, language, version, headerKind } = frame;
  return {
    kind: headerKind,
    code,
    flag,
    opaque,
    language,
    version,
    remark: frame.remark(),
    fields: [...frame.fields()],
    body: frame.body().toString('hex'),
  };
}

describe('a frame', () => {
  it('reads back as written, in both header kinds', () => {
    fc.assert(
      fc.property(head, fields, fc.uint8Array(), (frameHead, pairs, body) => {
        const bytes = encode(frameHead, pairs, body);
        const frame = new Frame();
        expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
        expect(seen(frame)).toEqual({ ...frameHead, fields: pairs, body: Buffer.from(body).toString('hex') });
      }),
    );
  });

  it('with a JSON header is the same with spaces in it, which only the lenient reader takes', () => {
    fc.assert(
      fc.property(head, fields, fc.boolean(), (frameHead, pairs, hasFields) => {
        const { kind: _kind, language, ...rest } = frameHead;
        const header = {
          ...rest,
          language: LANGUAGES[language],
          extFields: hasFields ? Object.fromEntries(pairs) : undefined,
          more: 1,
          other: 'x',
        };
        const [dense, airy] = [undefined, 1].map((space) => {
          const text = Buffer.from(JSON.stringify(header, undefined, space));
          const lengths = Buffer.alloc(8);
          lengths.writeInt32BE(4 + text.length, 0);
          lengths.writeInt32BE(text.length, 4);
          const bytes = Buffer.concat([lengths, text, Buffer.from('","')]);
          const frame = new Frame();
          expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
          return seen(frame);
        });
        expect(dense).toEqual(airy);
        expect(dense!.fields).toHaveLength(hasFields ? pairs.length : 0);
      }),
    );
  });

  it('that is kept back for later is copied twice at most, however often the reader is stopped in between', () => {
    const memory = new Set<ArrayBufferLike>();
    const found: number[] = [];
    const reader: FrameReader = new FrameReader(LIMITS, (frame) => {
      memory.add(frame.bytes.buffer);
      found.push(frame.opaque);
      reader.stop();
    });
    const stream = Buffer.concat(
      Array.from({ length: 1000 }, (_, opaque) =>
        encode({ kind: 1, code: 5, flag: 0, opaque, language: 0, version: 1, remark: undefined }, undefined, Buffer.alloc(50)),
      ),
    );
    reader.read(stream);
    stream.fill(0xee);
    let kept = 0;
    while (reader.heldBytes > 0) {
      expect(reader.bufferBytes).toBeLessThanOrEqual(2 * reader.heldBytes);
      kept++;
      reader.go();
    }
    expect(kept).toBe(999);
    expect(found).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    // Each half of the half before: 1 + ½ + ¼ … of the stream.
    expect(memory.size).toBeLessThan(15);
  });

  it('is the same however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(head, fields, fc.uint8Array({ maxLength: 3000 })), { maxLength: 6 }),
        fc.array(fc.nat(4000), { maxLength: 30 }),
        (list, cuts) => {
          const stream = Buffer.concat(list.map(([frameHead, pairs, body]) => encode(frameHead, pairs, body)));
          const found: unknown[] = [];
          const reader = new FrameReader(LIMITS, (frame) => found.push(seen(frame)));
          let at = 0;
          for (const cut of [...cuts, stream.length]) {
            const end = Math.min(stream.length, at + cut);
            // A copy that is wiped afterwards: the reader must not keep the chunk.
            const chunk = Buffer.from(stream.subarray(at, end));
            expect(reader.read(chunk)).toBeUndefined();
            chunk.fill(0xee);
            at = end;
          }
          expect(found).toEqual(
            list.map(([frameHead, pairs, body]) => ({ ...frameHead, fields: pairs, body: Buffer.from(body).toString('hex') })),
          );
          expect(reader.heldBytes).toBe(0);
        },
      ),
    );
  });

  it('byte by byte is handed out at its last byte', () => {
    const bytes = encode(
      { kind: 1, code: 1, flag: 0, opaque: 9, language: 0, version: 1, remark: 'r' },
      [['a', 'b']],
      Buffer.from('body'),
    );
    const found: number[] = [];
    const reader = new FrameReader(LIMITS, (frame) => found.push(frame.opaque));
    for (let at = 0; at < bytes.length; at++) {
      reader.read(bytes.subarray(at, at + 1));
      expect(found.length).toBe(at === bytes.length - 1 ? 1 : 0);
    }
  });

  it('that lies whole in a chunk is not copied', () => {
    const bytes = encode(
      { kind: 1, code: 1, flag: 0, opaque: 9, language: 0, version: 1, remark: undefined },
      undefined,
      Buffer.alloc(100),
    );
    const homes: Buffer[] = [];
    new FrameReader(LIMITS, (frame) => homes.push(frame.bytes)).read(Buffer.concat([bytes, bytes]));
    expect(homes[0]).toBe(homes[1]);
  });

  it('that claims a great length costs only what has arrived', () => {
    const reader = new FrameReader({ frameBytesMax: 1 << 30, headerBytesMax: 1 << 20 }, () => expect.unreachable());
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from(
      { length: 100 },
      () => new FrameReader({ frameBytesMax: 1 << 30, headerBytesMax: 1 << 20 }, () => expect.unreachable()),
    );
    for (const one of [reader, ...readers]) one.read(Buffer.from('3fffffff0100001500', 'hex'));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 64 * 1024);
  });
});

describe('damaged bytes', () => {
  const names: readonly CommandName[] = ['SEND_MESSAGE_V2', 'PULL_MESSAGE', 'END_TRANSACTION', 'HEART_BEAT'];

  it('never make the reader throw, and never change what came before them', () => {
    fc.assert(
      fc.property(
        head,
        fields,
        fc.uint8Array({ maxLength: 60 }),
        fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(1000),
        (frameHead, pairs, body, flips, cut) => {
          const good = encode(frameHead, pairs, body);
          const bad = Buffer.from(good);
          for (const [at, byte] of flips) bad[at % bad.length] = byte;
          const found: unknown[] = [];
          const reader = new FrameReader(LIMITS, (frame) => {
            found.push(seen(frame));
            for (const name of names) {
              decodeHeader(name, frame);
              decodeAnswer(name, frame);
            }
          });
          expect(reader.read(good)).toBeUndefined();
          reader.read(bad.subarray(0, cut % (bad.length + 1)));
          reader.read(bad.subarray(cut % (bad.length + 1)));
          expect(found[0]).toEqual({ ...frameHead, fields: pairs, body: Buffer.from(body).toString('hex') });
        },
      ),
      { numRuns: 500 },
    );
  });

  it('in a JSON header never make it throw, whatever they are', () => {
    const junk = fc.oneof(
      fc.uint8Array({ maxLength: 80 }).map((some) => Buffer.from(some)),
      fc.json().map((some) => Buffer.from(some)),
      fc.json().map((some) => Buffer.from(`{"code":1,"extFields":${some},"more":${some}}`)),
      fc.string().map((some) => Buffer.from(`{"code":1,"extFields":{"a":"${some}"}}`)),
    );
    fc.assert(
      fc.property(junk, fc.constantFrom(0, 1), (header, kind) => {
        const lengths = Buffer.alloc(8);
        lengths.writeInt32BE(4 + header.length, 0);
        lengths.writeInt32BE((kind << 24) | header.length, 4);
        const reader = new FrameReader(LIMITS, (frame) => {
          seen(frame);
          for (const name of names) decodeHeader(name, frame);
        });
        reader.read(Buffer.concat([lengths, header]));
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['{"code":1}', 1],
    [' { "code" : 1 , "x" : [ {"y":[1,2,{}]} , null , true , -1.5e3 ] , "extFields" : null } ', 1],
    ['{"code":105,"language":"JAVA","serializeTypeCurrentRPC":"JSON","remark":null}', 105],
    ['{"extFields":{"a":"1","b":2,"c":true,"d":null,"e":{"f":"}"}},"code":-1}', -1],
    ['{"language":9,"code":7}', 7],
    ['{"language":"KLINGON","code":7}', 7],
  ])('are not %s, which is a lenient but good header', (header, code) => {
    const frame = new Frame();
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 4 + header.length, 0, 0, 0, header.length]), Buffer.from(header)]);
    expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
    expect(frame.code).toBe(code);
    if (code === -1)
      expect([...frame.fields()]).toEqual([
        ['a', '1'],
        ['b', '2'],
        ['c', 'true'],
      ]);
  });

  it.each([
    '',
    '{',
    '[]',
    '{"code":1',
    '{"code":1}x',
    '{"code":"x"}',
    '{"code":99999999999}',
    '{"code":1 "flag":0}',
    '{"code":1,"extFields":{"a":"b}}',
    '{"code":1,"extFields":[]}',
    '{}',
    '{"code":1,}',
    '{"code":1,"x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}',
  ])('are refused with a sentence: %s', (header) => {
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 4 + header.length, 0, 0, 0, header.length]), Buffer.from(header)]);
    expect(typeof parseFrame(new Frame(), bytes, 0, bytes.length)).toBe('string');
  });

  it('with more fields than any command has are refused', () => {
    const pairs = Array.from({ length: 600 }, (_, n) => [`k${n}`, 'v'] as const);
    for (const kind of [0, 1] as const) {
      const bytes = encode(
        { kind, code: 1, flag: 0, opaque: 0, language: 0, version: 0, remark: undefined },
        pairs,
        Buffer.alloc(0),
      );
      expect(parseFrame(new Frame(), bytes, 0, bytes.length)).toBe('too many fields');
    }
  });
});
