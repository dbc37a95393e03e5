import { describe, expect, it } from 'vitest';
import { crc32 } from '@tallystick/base';
import {
  COMMANDS,
  CRC_MASK,
  decodeStoredMessage,
  encodeBatchElement,
  encodedSize,
  encodeHost,
  encodeProperties,
  encodeStoredMessage,
  Frame,
  LANGUAGES,
  offsetMessageId,
  OUR_VERSION,
  Output,
  parseFrame,
  parseOffsetMessageId,
  tagHash,
  writeFrame,
  type StoredMessage,
} from '../src/index.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

describe("RocketMQ's layouts, as computed by an independent script", () => {
  const head = { code: 105, flag: 0, opaque: 7, language: LANGUAGES.indexOf('JAVA'), version: 479, remark: undefined };

  function frameBytes(kind: 0 | 1): Buffer {
    const out = new Output();
    writeFrame(out, { ...head, kind }, { topic: 'T' }, undefined);
    return Buffer.from(out.bytes.subarray(0, out.at));
  }

  it('a JSON frame has both lengths, then the header text', () => {
    const header = '{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":7,"version":479}';
    expect(frameBytes(0).toString('hex')).toBe(hex('0000005e 0000005a').toString('hex') + Buffer.from(header).toString('hex'));
  });

  it('a binary frame is the same command in 41 bytes', () => {
    const wanted = '00000025 01000021 0069 00 01df 00000007 00000000 00000000 0000000c 0005 746f706963 00000001 54';
    expect(frameBytes(1).toString('hex')).toBe(hex(wanted).toString('hex'));
  });

  it.each([0, 1] as const)('header kind %s reads back', (kind) => {
    const bytes = frameBytes(kind);
    const frame = new Frame();
    expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
    expect(frame).toMatchObject({ code: 105, flag: 0, opaque: 7, language: 0, version: 479 });
    expect([...frame.fields()]).toEqual([['topic', 'T']]);
    expect(frame.remark()).toBeUndefined();
    expect(frame.body()).toHaveLength(0);
  });

  it.each([
    ['TagA', 2598919],
    ['TagB', 2598920],
    ['Aa', 2112],
    ['BB', 2112],
    ['中文', 646394],
    ['', 0],
  ])('tag %s hashes to %i from text and from bytes', (tag, hash) => {
    expect(tagHash(tag)).toBe(hash);
    expect(tagHash(Buffer.from(tag))).toBe(hash);
  });

  it.each([
    ['hello', 907060870],
    ['a', 1756872259],
  ])('body %s has the 31-bit crc %i', (body, crc) => {
    expect(crc32(Buffer.from(body)) & CRC_MASK).toBe(crc);
  });

  it.each([
    ['127.0.0.1', 0, '7F00000100002A9F0000000000000000'],
    ['192.168.1.10', 1234567890, 'C0A8010A00002A9F00000000499602D2'],
  ])('an offset message id names host %s and position %i', (ip, position, id) => {
    expect(offsetMessageId(encodeHost(ip, 10911)!, position)).toBe(id);
    expect(parseOffsetMessageId(id)).toEqual({ host: `${ip}:10911`, position });
  });

  it('a batch element is 22 bytes longer than its body and properties', () => {
    const into = Buffer.alloc(36);
    expect(encodeBatchElement(into, 0, 0, Buffer.from('hi'), encodeProperties([['UNIQ_KEY', 'A1']]))).toBe(36);
    const wanted = '00000024 00000000 00000000 00000000 00000002 6869 000c 554e49515f4b4559 01 4131 02';
    expect(into.toString('hex')).toBe(hex(wanted).toString('hex'));
  });

  it('a stored message is this record of 119 bytes', () => {
    const message: StoredMessage = {
      topic: 'T',
      queueId: 1,
      flag: 0,
      queueOffset: 5,
      physicalOffset: 1000,
      sysFlag: 0,
      bornTimestamp: 1700000000000,
      bornHost: '127.0.0.1:50000',
      storeTimestamp: 1700000000123,
      storeHost: '127.0.0.1:10911',
      reconsumeTimes: 0,
      preparedTransactionOffset: 0,
      body: Buffer.from('hello'),
      properties: encodeProperties([
        ['TAGS', 'TagA'],
        ['UNIQ_KEY', 'X1'],
      ]),
    };
    const wanted = hex(`
      00000077 daa320a7 3610a686 00000001 00000000 0000000000000005 00000000000003e8 00000000 0000018bcfe56800 7f0000010000c350
      0000018bcfe5687b 7f00000100002a9f 00000000 0000000000000000 00000005 68656c6c6f 01 54 0016 54414753 01 54616741 02 554e49515f4b4559 01 5831 02`);
    const into = Buffer.alloc(encodedSize(message));
    expect(encodeStoredMessage(message, into, 0)).toBe(119);
    expect(into.toString('hex')).toBe(wanted.toString('hex'));
    expect(decodeStoredMessage(wanted)).toEqual({ ...message, bodyCrc: 907060870 });
  });

  it('has every code once and the version of RocketMQ 5.3.3', () => {
    const codes = Object.values(COMMANDS).map((row) => row.code);
    expect(new Set(codes).size).toBe(codes.length);
    expect(OUR_VERSION).toBe(479);
  });
});
