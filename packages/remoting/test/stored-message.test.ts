import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BatchCursor,
  compressionOf,
  decodeProperties,
  decodeStoredMessage,
  decodeStoredMessages,
  encodeBatchElement,
  encodedSize,
  encodeHost,
  encodeProperties,
  encodeStoredMessage,
  findProperty,
  formatHost,
  isReservedProperty,
  newMessageId,
  offsetMessageId,
  parseHost,
  parseOffsetMessageId,
  PropertyLocator,
  tagHash,
  transactionType,
  viewStoredMessage,
  type StoredMessage,
} from '../src/index.ts';
import { seededRandom } from '@tallystick/base/testing';

const host = fc
  .tuple(fc.boolean(), fc.ipV4(), fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(65535))
  .map(([v4, ip, raw, port]) => {
    if (v4) return `${ip}:${port}`;
    const bytes = Buffer.concat([Buffer.from(raw), Buffer.alloc(4)]);
    bytes.writeInt32BE(port, 16);
    return formatHost(bytes, 0, 20);
  });

const utf8 = (max: number) => fc.string({ unit: 'grapheme', maxLength: max }).map((text) => Buffer.from(text).toString());

const message: fc.Arbitrary<StoredMessage> = fc.record({
  topic: fc.oneof(utf8(20), utf8(20), fc.constantFrom('x'.repeat(127), 'x'.repeat(128), 'x'.repeat(300))),
  queueId: fc.integer(),
  flag: fc.integer(),
  queueOffset: fc.maxSafeInteger(),
  physicalOffset: fc.maxSafeNat(),
  sysFlag: fc.nat(0xffff).map((flag) => flag & ~0x30),
  bornTimestamp: fc.maxSafeNat(),
  bornHost: host,
  storeTimestamp: fc.maxSafeNat(),
  storeHost: host,
  reconsumeTimes: fc.integer(),
  preparedTransactionOffset: fc.maxSafeInteger(),
  body: fc.uint8Array().map((some) => Buffer.from(some)),
  properties: fc.uint8Array({ maxLength: 100 }).map((some) => Buffer.from(some)),
});

function encode(one: StoredMessage): Buffer {
  const bytes = Buffer.alloc(encodedSize(one));
  expect(encodeStoredMessage(one, bytes, 0)).toBe(bytes.length);
  return bytes;
}

const ipv6 = (text: string): number => (text.startsWith('[') ? 1 : 0);
const withHostBits = (one: StoredMessage): number => one.sysFlag | (ipv6(one.bornHost) * 0x10) | (ipv6(one.storeHost) * 0x20);

describe('a stored message', () => {
  it('reads back as written, with IPv4 and IPv6 hosts and long topics', () => {
    fc.assert(
      fc.property(message, (one) => {
        const decoded = decodeStoredMessage(encode(one));
        expect(decoded).toEqual({ ...one, sysFlag: withHostBits(one), bodyCrc: expect.any(Number) as number });
      }),
    );
  });

  it('viewed lazily says the same', () => {
    fc.assert(
      fc.property(message, (one) => {
        const view = viewStoredMessage(encode(one));
        if (typeof view === 'string') expect.unreachable(view);
        for (const name of Object.keys(one) as (keyof StoredMessage)[]) {
          if (name === 'properties') expect(view.rawProperties).toEqual(one.properties);
          else if (name === 'sysFlag') expect(view.sysFlag).toBe(withHostBits(one));
          else expect(view[name as 'topic']).toEqual(one[name]);
        }
        expect(view.bodyBytes).toBe(one.body.length);
        expect(offsetMessageId(view.storeHostBytes, 7)).toBe(offsetMessageId(parseHost(one.storeHost)!, 7));
      }),
    );
  });

  it('one after another are all read, and damage is told with its place', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), (list) => {
        const bytes = Buffer.concat(list.map(encode));
        expect(decodeStoredMessages(bytes)).toHaveLength(list.length);
        expect(decodeStoredMessages(bytes.subarray(0, bytes.length - 1))).toMatch(/\(at byte \d+\)/);
      }),
    );
  });

  it('damaged anywhere gives a message or a sentence and never throws', () => {
    fc.assert(
      fc.property(
        message,
        fc.array(fc.tuple(fc.nat(500), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        fc.nat(500),
        (one, flips, cut) => {
          const bytes = encode(one);
          for (const [at, byte] of flips) bytes[at % bytes.length] = byte;
          const part = bytes.subarray(0, bytes.length - (cut % bytes.length));
          const decoded = decodeStoredMessage(part);
          if (typeof decoded !== 'string') decodeProperties(decoded.properties);
          expect(typeof viewStoredMessage(part) === 'string').toBe(typeof decoded === 'string');
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('properties', () => {
  const name = utf8(10).filter((text) => /^[^\u0001\u0002]+$/.test(text)); // oxlint-disable-line no-control-regex
  const pairs = fc.array(fc.tuple(name, name), { maxLength: 12 });

  it('read back, the last of equal names winning, decoded, found and located alike', () => {
    fc.assert(
      fc.property(pairs, (list) => {
        const bytes = Buffer.concat([Buffer.from('xx'), encodeProperties(list)]);
        const wanted = new Map(list);
        expect(decodeProperties(bytes, 2)).toEqual(wanted);
        const names = [...wanted.keys(), 'no such'];
        const locator = new PropertyLocator(names);
        locator.locate(bytes, 2, bytes.length);
        for (const [slot, one] of names.entries()) {
          expect(findProperty(bytes, 2, bytes.length, one)).toBe(wanted.get(one));
          expect(locator.has(slot)).toBe(wanted.has(one));
          expect(locator.text(slot)).toBe(wanted.get(one) ?? '');
          expect(locator.hash(slot)).toBe(tagHash(wanted.get(one) ?? ''));
        }
      }),
    );
  });

  it.each([
    ['', []],
    ['a\u0001b', [['a', 'b']]],
    ['a\u0001b\u0002', [['a', 'b']]],
    ['\u0002\u0002a\u0001b\u0002\u0002', [['a', 'b']]],
    ['no value\u0002a\u0001b\u0002', [['a', 'b']]],
    ['\u0001no name\u0002empty\u0001\u0002a\u0001b\u0002', [['a', 'b']]],
    ['a\u0001b\u0001c\u0002', [['a', 'b\u0001c']]],
    ['a\u0001old\u0002a\u0001b\u0002', [['a', 'b']]],
  ])('%j reads as RocketMQ reads it', (raw, wanted) => {
    const bytes = Buffer.from(raw);
    expect([...decodeProperties(bytes)]).toEqual(wanted);
    expect(findProperty(bytes, 0, bytes.length, 'a')).toBe(wanted[0]?.[1]);
  });

  it('locate the same as decode over any bytes', () => {
    const byte = fc.oneof(fc.constantFrom(1, 2, 97), fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 40 }), (list) => {
        const bytes = Buffer.from(list);
        expect(findProperty(bytes, 0, bytes.length, 'a')).toBe(decodeProperties(bytes).get('a'));
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['', 'x'],
    ['x', ''],
    ['a\u0001', 'x'],
    ['a', 'x\u0002y'],
  ])('refuse %j=%j, which would not read back', (one, value) => {
    expect(() => encodeProperties([[one, value]])).toThrow('separator');
  });

  it('compare a value with a word without making a string', () => {
    const bytes = encodeProperties([['WAIT', 'false']]);
    const locator = new PropertyLocator(['WAIT', 'TAGS']);
    locator.locate(bytes, 0, bytes.length);
    expect([locator.is(0, 'false'), locator.is(0, 'fals'), locator.is(0, 'truee'), locator.is(1, '')]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it('know the names users may not have', () => {
    expect(['UNIQ_KEY', '__SHARDINGKEY', 'TS_SEQ', 'colour'].map(isReservedProperty)).toEqual([true, true, true, false]);
  });
});

describe('a batch', () => {
  const element = fc.record({
    flag: fc.integer(),
    body: fc.uint8Array({ maxLength: 50 }),
    properties: fc.uint8Array({ maxLength: 50 }),
  });

  it('reads back element by element', () => {
    fc.assert(
      fc.property(fc.array(element, { maxLength: 8 }), (list) => {
        const bytes = Buffer.alloc(4 + list.reduce((sum, one) => sum + 22 + one.body.length + one.properties.length, 0));
        let end = 4;
        for (const one of list) end = encodeBatchElement(bytes, end, one.flag, one.body, one.properties);
        expect(end).toBe(bytes.length);
        const cursor = new BatchCursor();
        cursor.begin(bytes, 4, end);
        for (const one of list) {
          expect(cursor.next()).toBe(true);
          expect(cursor.flag).toBe(one.flag);
          expect([...bytes.subarray(cursor.bodyStart, cursor.bodyEnd)]).toEqual([...one.body]);
          expect([...bytes.subarray(cursor.propertiesStart, cursor.propertiesEnd)]).toEqual([...one.properties]);
        }
        expect(cursor.next()).toBe(false);
        expect(cursor.fault).toBeUndefined();
      }),
    );
  });

  it('damaged ends with a fault or at its end, and never throws or loops', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), element, fc.nat(60), (junk, one, cut) => {
        const good = Buffer.alloc(22 + one.body.length + one.properties.length);
        encodeBatchElement(good, 0, one.flag, one.body, one.properties);
        const bytes = Buffer.concat([good, Buffer.from(junk)]);
        bytes[cut % bytes.length]! ^= 1 << (cut % 8);
        const cursor = new BatchCursor();
        cursor.begin(bytes, 0, bytes.length);
        let count = 0;
        while (cursor.next()) expect(++count).toBeLessThan(20);
        expect(cursor.next()).toBe(false);
      }),
    );
  });
});

describe('hosts and ids', () => {
  it.each([
    ['127.0.0.1', 10911, '7F00000100002A9F'],
    ['::1', 1, '0000000000000000000000000000000100000001'],
    ['::ffff:10.0.0.1', 2, '0A00000100000002'],
    ['fe80::1%eth0', 3, 'FE80000000000000000000000000000100000003'],
    ['2001:db8::1.2.3.4', 4, '20010DB80000000000000000010203040000000' + '4'],
  ])('%s has these bytes', (ip, port, wanted) => {
    expect(encodeHost(ip, port)?.toString('hex').toUpperCase()).toBe(wanted);
  });

  it.each(['', '1.2.3', '1.2.3.256', 'localhost', '1::2::3', '1:2:3:4:5:6:7', 'g::', '1:2:3:4:5:6:7:8:9'])(
    '%j is no address',
    (ip) => {
      expect(encodeHost(ip, 1)).toBeUndefined();
    },
  );

  it('read back from their text', () => {
    fc.assert(
      fc.property(host, (text) => {
        const bytes = parseHost(text)!;
        // An IPv4 address inside IPv6 is written as IPv6 and read as IPv4: the only texts that change.
        if (!text.startsWith('[::ffff:')) expect(formatHost(bytes, 0, bytes.length)).toBe(text);
      }),
    );
  });

  it('of a message name its host and position', () => {
    fc.assert(
      fc.property(host, fc.maxSafeNat(), (text, position) => {
        const id = offsetMessageId(parseHost(text)!, position);
        expect(id).toMatch(/^([0-9A-F]{32}|[0-9A-F]{56})$/);
        expect(parseOffsetMessageId(id)).toEqual({ host: text, position });
      }),
    );
  });

  it.each(['', 'x'.repeat(32), '7F00000100002A9FFFFFFFFFFFFFFFFF', '7F00000100002A9F'])('%j names no message', (id) => {
    expect(parseOffsetMessageId(id)).toBeUndefined();
  });

  it('of senders are UUIDv7 in upper-case hex, ordered by time and never the same', () => {
    const random = seededRandom(1);
    const now = Date.UTC(2026, 1, 3, 4, 5, 6, 789);
    const ids = Array.from({ length: 1000 }, (_, n) => newMessageId(now + n, random));
    for (const [n, id] of ids.entries()) {
      expect(id).toMatch(/^[0-9A-F]{12}7[0-9A-F]{3}[89AB][0-9A-F]{15}$/);
      expect(parseInt(id.slice(0, 12), 16)).toBe(now + n);
    }
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(ids).size).toBe(1000);
  });
});

describe('sysFlag', () => {
  it.each([
    [0, 'none', 0],
    [0x1 | 0x4, 'zlib', 4],
    [0x101 | 0x8, 'lz4', 8],
    [0x201 | 0xc, 'zstd', 12],
    [0x301, 'zlib', 0],
    [0x701, 'unknown', 0],
  ])('%i means compression %s and transaction type %i', (flag, compression, type) => {
    expect(compressionOf(flag)).toBe(compression);
    expect(transactionType(flag)).toBe(type);
  });
});
