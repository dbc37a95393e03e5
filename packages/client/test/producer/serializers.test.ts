import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import { HeaderMap } from '../../src/producer/header-map.ts';
import type { Serializer } from '../../src/producer/serializers.ts';
import { bodies, send, stageWith } from './sent.ts';

interface Order {
  readonly number: number;
}

/** As a serializer with a schema registry: the schema's id travels as a header, the bytes begin with it. */
const registered: Serializer<Order> = {
  name: 'registered',
  serialize(topic, headers, order) {
    headers.set('schema', `${topic}-7`);
    return Buffer.from([7, order.number]);
  },
};

describe('serializers', () => {
  it('turn key and value into what travels, and the key chooses the queue by its bytes', () => {
    const stage = stageWith({ t: 12 });
    const keySerializer: Serializer<Order> = { serialize: (_topic, _headers, order) => `${order.number}` };
    const producer = stage.client().producer({ keySerializer, valueSerializer: 'json' });
    const told = send(producer, { topic: 't', key: { number: 21 }, value: { b: 1 } });
    stage.time.settle();
    const [arrived] = stage.broker.arrived;
    expect([arrived!.body, arrived!.properties.get('KEYS')]).toEqual(['{"b":1}', '21']);
    expect(told.receipt?.queueId).toBe((-973932308 & 0x7fffffff) % 12);
  });

  it('may add headers, to the record’s own as to a copy of the caller’s', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ valueSerializer: registered });
    const plain = { a: '1' };
    const map = new HeaderMap([['a', '2']]);
    send(producer, { topic: 't', value: { number: 1 } });
    send(producer, { topic: 't', value: { number: 2 }, headers: plain });
    send(producer, { topic: 't', value: { number: 3 }, headers: map });
    stage.time.settle();
    const seen = stage.broker.arrived.map(({ raw, properties }) => [raw[1], properties.get('schema'), properties.get('a')]);
    expect(seen).toEqual([
      [1, 't-7', undefined],
      [2, 't-7', '1'],
      [3, 't-7', '2'],
    ]);
    expect([Object.keys(plain), [...map.keys()]]).toEqual([['a'], ['a', 'schema']]);
  });

  it('are asked once per send, key first, before any wait, also for a send that waits for memory then', () => {
    const stage = stageWith({ t: 1 });
    const asked: string[] = [];
    const noting = (field: string): Serializer<string> => ({
      serialize: (_topic, _headers, data) => {
        asked.push(`${field} ${data}`);
        return data;
      },
    });
    const options = {
      keySerializer: noting('key'),
      valueSerializer: noting('value'),
      bufferMemoryBytes: 1024,
      batchSizeBytes: 1024,
    };
    const producer = stage.client().producer(options);
    const big = 'v'.repeat(600);
    const told = [1, 2].map((n) => send(producer, { topic: 't', key: `k${n}`, value: `${n}${big}` }));
    expect(asked.length).toBe(4);
    stage.time.settle();
    expect(asked.map((line) => line.slice(0, 7))).toEqual(['key k1', 'value 1', 'key k2', 'value 2']);
    expect(told.map(({ receipt }) => receipt?.offset)).toEqual([0, 1]);
  });

  it('may give views of one buffer of their own: a send that waits keeps what it held then', () => {
    const stage = stageWith({ t: 1 });
    const reusing = (): Serializer<string> => {
      const buffer = Buffer.alloc(16);
      return {
        serialize(_topic, headers, data) {
          const bytes = buffer.subarray(0, buffer.write(data));
          return headers.set(`h${headers.size}`, bytes) && bytes;
        },
      };
    };
    const producer = stage.client().producer({ keySerializer: reusing(), valueSerializer: reusing() });
    for (const value of ['a', 'bb', 'ccc']) send(producer, { topic: 't', key: `k${value}`, value });
    stage.time.settle();
    const arrived = stage.broker.arrived.map(({ body, properties }) => [
      properties.get('KEYS'),
      body,
      ...['h0', 'h1'].map((name) => Buffer.from(properties.get(name)!, 'base64').toString()),
    ]);
    expect(arrived).toEqual(['a', 'bb', 'ccc'].map((value) => [`k${value}`, value, `k${value}`, value]));
  });

  it('keep a headers object writable until the send and readable only from then on', () => {
    const stage = stageWith({ t: 1 });
    const headers = new HeaderMap();
    headers.set('h', '1');
    send(stage.client().producer(), { topic: 't', value: 'v', headers });
    expect(headers.isReadOnly).toBe(true);
    expect(() => headers.set('h', '2')).toThrow('can only be read');
    expect(() => headers.delete('h')).toThrow('can only be read');
    expect(() => headers.clear()).toThrow('can only be read');
    stage.time.settle();
    expect(stage.broker.arrived[0]!.properties.get('h')).toBe('1');
  });

  it('that add headers cannot send the same record twice', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ valueSerializer: registered });
    const record = { topic: 't', value: { number: 1 }, headers: new HeaderMap() };
    const told = [send(producer, record), send(producer, record)];
    stage.time.settle();
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, 'SERIALIZATION']);
    expect(told[1]!.error!.message).toContain('make new ones');
  });

  it('do not see changes of a plain headers object after the send', () => {
    const stage = stageWith({ t: 1 });
    const headers = { h: 'before' };
    send(stage.client().producer(), { topic: 't', value: 'v', headers });
    headers.h = 'after';
    stage.time.settle();
    expect(stage.broker.arrived[0]!.properties.get('h')).toBe('before');
  });

  it.each([
    [
      { valueSerializer: 'string' },
      { value: Buffer.from('v') },
      'value of a record for t: serializer string takes text, not Buffer; pass another value or set valueSerializer',
    ],
    [{ valueSerializer: 'bytes' }, { value: 'v' }, 'serializer bytes takes bytes, not a string'],
    [
      { keySerializer: 'bytes' },
      { key: 'k', value: 'v' },
      'key of a record for t: serializer bytes takes bytes, not a string; pass another key or set keySerializer',
    ],
    [{ valueSerializer: 'json' }, { value: () => 1 }, 'serializer json cannot write a function'],
    [{ valueSerializer: 'json' }, { value: 1n }, 'BigInt'],
    [{ valueSerializer: 'json' }, { value: undefined }, 'there is no message without a value'],
    [{ keySerializer: 'json' }, { key: 1, value: 7 }, 'serializer plain takes text or bytes, not a number'],
    [{ valueSerializer: { serialize: async () => 'v' } }, { value: 'v' }, 'must be synchronous'],
    [{ valueSerializer: { serialize: () => 5 } }, { value: 'v' }, 'gave a number instead of text or bytes'],
    [
      {
        valueSerializer: {
          name: 'mine',
          serialize: () => {
            throw new Error('no schema 7');
          },
        },
      },
      { value: 'v' },
      'serializer mine no schema 7',
    ],
  ])('that fail name field, serializer and what to do: %#', (options, record, text) => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer(options as GivenProducerOptions);
    const told = send(producer, { topic: 't', ...record } as never);
    stage.time.settle();
    expect(told.error).toMatchObject({ code: 'SERIALIZATION', outcome: 'rejected', retry: 'never' });
    expect(told.error!.message).toContain(text);
    expect(told.times).toBe(1);
  });

  it('without a key send none', () => {
    const stage = stageWith({ t: 1 });
    send(stage.client().producer({ keySerializer: 'string', valueSerializer: 'string' }), { topic: 't', value: 'v' });
    stage.time.settle();
    expect(stage.broker.arrived[0]!.properties.has('KEYS')).toBe(false);
  });

  it('work for half messages too', () => {
    const stage = stageWith({ t: 1 });
    const listener = { check: () => {} };
    const producer = stage.client().transactionProducer({ group: 'g', listener, valueSerializer: 'json' });
    producer.half({ topic: 't', value: { a: 1 } }, () => {});
    stage.time.settle();
    expect(bodies(stage)).toEqual(['{"a":1}']);
  });

  it('are closed once, with the producer, and so is a partitioner', () => {
    const stage = stageWith({});
    const closed: string[] = [];
    const both: Serializer<string> = { serialize: (_topic, _headers, data) => data, close: () => closed.push('serializer') };
    const partitioner = { partition: () => 0, close: () => closed.push('partitioner') };
    const producer = stage.client().producer({ keySerializer: both, valueSerializer: both, partitioner });
    producer.close(0, () => closed.push('producer'));
    producer.close(0, () => closed.push('again'));
    stage.time.settle();
    expect(closed).toEqual(['serializer', 'partitioner', 'producer', 'again']);
  });
});
