import { deflateSync } from 'node:zlib';
import { viewStoredMessage } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { ReceivedMessage } from '../../src/message/received-message.ts';
import { type Stored, record } from '../fake-broker.ts';

function received(more: Partial<Stored>, inflatedBytesMax = 1000): ReceivedMessage {
  const stored = viewStoredMessage(
    record({ topic: 't', queueId: 3, offset: 4, body: Buffer.from('v'), properties: { UNIQ_KEY: 'ID' }, ...more }),
  );
  if (typeof stored === 'string') throw new Error(stored);
  return new ReceivedMessage(stored, 'broker-a', inflatedBytesMax);
}

describe('received message', () => {
  it('tells where and when', () => {
    const message = received({ reconsumeTimes: 2 });
    expect([message.topic, message.queueId, message.offset, message.position, message.id, message.reconsumeTimes]).toEqual([
      't',
      3,
      4,
      1004,
      'ID',
      2,
    ]);
    expect(message.offsetMessageId).toBe('0A0000010000269400000000000003EC');
    expect([message.timestamp, message.storeTimestamp]).toEqual([1_700_000_000_000, 1_700_000_000_001]);
  });

  it("gives keys and headers as they were sent, without the names that are RocketMQ's", () => {
    const message = received({
      properties: { UNIQ_KEY: 'ID', __SHARDINGKEY: 'AP8=', TS_KEY: 'b64', TAGS: 'A', h: 'v', raw: 'AQI=', TS_B64: 'raw' },
    });
    expect([...message.headers]).toEqual([
      ['h', 'v'],
      ['raw', 'AQI='],
    ]);
    expect([message.headerBytes('raw'), message.headerBytes('h'), message.headerBytes('none')]).toEqual([
      Buffer.from([1, 2]),
      Buffer.from('v'),
      undefined,
    ]);
    expect([message.key, message.keyBytes, message.tag]).toEqual(['AP8=', Buffer.from([0, 255]), 'A']);
  });

  it('knows the key of a message from another client by KEYS', () => {
    expect(received({ properties: { KEYS: 'order-1' } }).key).toBe('order-1');
    expect(received({}).key).toBeUndefined();
  });

  it.each([
    ['zlib of old clients', 0x1, deflateSync('text'), 'text'],
    ['zlib by type', 0x301, deflateSync('text'), 'text'],
    ['not compressed', 0x0, Buffer.from('text'), 'text'],
  ])('reads a body: %s', (_, sysFlag, body, value) => {
    expect(received({ sysFlag, body }).value.toString()).toBe(value);
  });

  it.each([
    ['lz4', 0x101, Buffer.from('x'), 'COMPRESSION_UNKNOWN'],
    ['broken zlib', 0x301, Buffer.from('x'), 'INFLATE_FAILED'],
    ['too large inflated', 0x301, deflateSync('x'.repeat(1001)), 'INFLATE_FAILED'],
  ])('throws for a body it cannot read: %s', (_, sysFlag, body, code) => {
    expect(() => received({ sysFlag, body }).value).toThrow(expect.objectContaining({ code }));
  });

  it('prints itself as JSON', () => {
    expect(JSON.parse(JSON.stringify(received({})))).toMatchObject({ topic: 't', id: 'ID', value: 'v', headers: {} });
  });
});
