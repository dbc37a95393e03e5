import { describe, expect, it } from 'vitest';
import { Stage, type Answer, type TestClient } from '../broker-stage.ts';
import { batch, beginBatch, beginOne, mark, one, placeOf } from './numbered.ts';

function refusal(answer: Answer): readonly [number, string | undefined] {
  return [answer.code, answer.fields.get('TS_REASON')];
}

describe('a numbered send', () => {
  it('that comes again gets the answer of its original and is not stored again', () => {
    const client = new Stage().start().client();
    const props = { UNIQ_KEY: 'K0' };
    const first = one(client, 'a', { sequence: 0, props });
    client.stage.run(5000);
    const again = one(client, 'a', { sequence: 0, props });
    expect(placeOf(again)).toEqual(placeOf(first));
    expect(again.fields.get('transactionId')).toBe('K0');
    expect(client.bodies('orders')).toEqual(['a']);
    expect(client.stage.core.counters.duplicateSends).toBe(1);
  });

  it('is counted per producer, topic and queue', () => {
    const client = new Stage().start().client();
    const other = 'B2'.repeat(16);
    const codes = [
      one(client, 'a', { sequence: 0 }),
      one(client, 'b', { sequence: 0, queueId: 1 }),
      one(client, 'c', { sequence: 0, producer: other }),
      one(client, 'd', { sequence: 0, topic: 'bills' }),
      one(client, 'e', { sequence: 1 }),
    ].map((answer) => answer.code);
    expect(codes).toEqual([0, 0, 0, 0, 0]);
    expect([client.bodies('orders'), client.bodies('orders', 1), client.bodies('bills')]).toEqual([
      ['a', 'c', 'e'],
      ['b'],
      ['d'],
    ]);
  });

  it('is refused when an earlier one is missing, until that one has come', () => {
    const client = new Stage().start().client();
    one(client, '0', { sequence: 0 });
    const early = one(client, '2', { sequence: 2 });
    expect(refusal(early)).toEqual([1, 'OUT_OF_ORDER']);
    expect(early.remark).toContain('an earlier request is missing: request 2 of epoch 0');
    expect(one(client, '1', { sequence: 1 }).code).toBe(0);
    expect(one(client, '2', { sequence: 2 }).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['0', '1', '2']);
  });

  it('of a producer that is not known here must be the first', () => {
    const client = new Stage().start().client();
    expect(refusal(one(client, 'x', { sequence: 7 }))).toEqual([1, 'OUT_OF_ORDER']);
    expect(client.bodies('orders')).toEqual([]);
  });

  it('is remembered for five requests', () => {
    const client = new Stage().start().client();
    const firsts = Array.from({ length: 8 }, (_, sequence) => one(client, String(sequence), { sequence }));
    expect(refusal(one(client, '2', { sequence: 2 }))).toEqual([1, 'DUPLICATE_TOO_OLD']);
    for (let sequence = 3; sequence < 8; sequence++) {
      const again = one(client, String(sequence), { sequence });
      expect(again.fields.get('msgId')).toBe(firsts[sequence]!.fields.get('msgId'));
      expect(again.fields.get('queueOffset')).toBe(String(sequence));
    }
    expect(client.bodies('orders')).toHaveLength(8);
  });

  it('begins at 0 in a new epoch, and the old one is over then', () => {
    const client = new Stage().start().client();
    one(client, 'a', { sequence: 0 });
    one(client, 'b', { sequence: 1 });
    expect(refusal(one(client, 'x', { sequence: 2, epoch: 1 }))).toEqual([1, 'OUT_OF_ORDER']);
    expect(one(client, 'c', { sequence: 0, epoch: 1 }).code).toBe(0);
    expect(refusal(one(client, 'x', { sequence: 2 }))).toEqual([1, 'OLD_EPOCH']);
    expect(refusal(one(client, 'x', { sequence: 1 }))).toEqual([1, 'OLD_EPOCH']);
    expect(placeOf(one(client, 'c', { sequence: 0, epoch: 1 })).queueOffset).toBe('2');
    expect(client.bodies('orders')).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['too short an id', 'A1:00000:000000000000'],
    ['an id that is not hexadecimal', `${'G'.repeat(32)}:00000:000000000000`],
    ['no epoch', `${'A'.repeat(32)}:000000000000`],
    ['an empty sequence', `${'A'.repeat(32)}:00000:`],
    ['a sequence with a letter', `${'A'.repeat(32)}:00000:00000000000x`],
    ['too long an epoch', `${'A'.repeat(32)}:123456:1`],
  ])('with %s is illegal', (_what, text) => {
    const client = new Stage().start().client();
    const answer = client.send('orders', 'x', { props: { TS_SEQ: text } });
    expect([answer.code, answer.remark]).toEqual([13, expect.stringContaining('TS_SEQ is not')]);
    expect(client.bodies('orders')).toEqual([]);
  });

  it('whose mark is not the first property is an ordinary one', () => {
    const client = new Stage().start().client();
    for (let n = 0; n < 2; n++) expect(client.send('orders', 'x', { props: { A: 'b', TS_SEQ: mark(5) } }).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['x', 'x']);
  });

  it('is not judged on its way to a retry topic, where clients send copies of what they received', () => {
    const client = new Stage().start().client();
    client.heartbeat({ consumers: ['g'], topic: 'orders' });
    for (let n = 0; n < 2; n++) expect(client.send('%RETRY%g', 'x', { props: { TS_SEQ: mark(5) } }).code).toBe(0);
    expect(client.bodies('%RETRY%g')).toEqual(['x', 'x']);
  });

  it.each(['one', 'batch'])(
    'that says of itself what only the broker says is illegal, and its number stays free (%s)',
    (kind) => {
      const client = new Stage().start().client();
      for (const props of [{ REAL_TOPIC: 'orders', REAL_QID: '0' }, { REAL_QID: '0' }]) {
        const answer =
          kind === 'one' ? one(client, 'a', { sequence: 0, props }) : batch(client, ['a', 'b'], { sequence: 0, props });
        expect([answer.code, answer.remark]).toEqual([13, expect.stringContaining("REAL_QID, which are the broker's own")]);
      }
      expect(one(client, 'b', { sequence: 0 }).code).toBe(0);
      expect(client.bodies('orders')).toEqual(['b']);
    },
  );

  it.each(['one', 'batch'])('that goes to any queue is illegal: its repeat would go to another one (%s)', (kind) => {
    const client = new Stage().start().client();
    const numbered = { sequence: 0, queueId: -1 };
    const answer = kind === 'one' ? one(client, 'a', numbered) : batch(client, ['a', 'b'], numbered);
    expect([answer.code, answer.remark]).toEqual([13, expect.stringContaining('must name its queue')]);
    for (let queueId = 0; queueId < 4; queueId++) expect(client.bodies('orders', queueId)).toEqual([]);
  });

  it('that the store refuses leaves no trace: the same number comes again and is stored', () => {
    const client = new Stage({ propertiesBytesMax: 200 }).start().client();
    expect(one(client, 'x', { sequence: 0, props: { A: 'y'.repeat(200) } }).code).toBe(13);
    expect(one(client, 'x', { sequence: 0 }).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['x']);
  });

  it('says nothing one-way, and is not stored twice', () => {
    const client = new Stage().start().client();
    for (let n = 0; n < 2; n++)
      client.oneway('SEND_MESSAGE_V2', client.sendHeader('orders', { props: { TS_SEQ: mark(0) } }), Buffer.from('x'));
    expect(client.bodies('orders')).toEqual(['x']);
  });
});

describe('a numbered batch', () => {
  it('that comes again is answered with the ids of all its messages', () => {
    const client = new Stage().start().client();
    const first = batch(client, ['a', 'b', 'c'], { sequence: 0 });
    expect(first.fields.get('msgId')!.split(',')).toHaveLength(3);
    client.send('orders', 'between');
    const again = batch(client, ['a', 'b', 'c'], { sequence: 0 });
    expect(placeOf(again)).toEqual(placeOf(first));
    expect(client.bodies('orders')).toEqual(['a', 'b', 'c', 'between']);
  });

  it('counts as one request', () => {
    const client = new Stage().start().client();
    batch(client, ['a', 'b'], { sequence: 0 });
    expect(one(client, 'c', { sequence: 1 }).code).toBe(0);
    expect(batch(client, ['d', 'e'], { sequence: 2 }).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('is found again on the disk after a restart', () => {
    const stage = new Stage().start();
    const bodies = Array.from({ length: 300 }, (_, n) => `${n}`.padEnd(500, '.'));
    const first = batch(stage.client(), bodies, { sequence: 0 });
    stage.restart();
    const client = stage.client();
    expect(placeOf(batch(client, bodies, { sequence: 0 }))).toEqual(placeOf(first));
    expect(client.read('orders')).toHaveLength(300);
  });
});

describe('a repeated send whose original is not acknowledged yet', () => {
  it.each(['one', 'batch'])('waits for it (%s)', (kind) => {
    const stage = new Stage({ flush: 'sync' }).start();
    const client = stage.client();
    const again = stage.client();
    stage.syncDelayMs = 500;
    const begin = (from: TestClient) =>
      kind === 'one' ? beginOne(from, 'a', { sequence: 0, props: { UNIQ_KEY: 'K' } }) : beginBatch(from, ['a'], { sequence: 0 });
    const first = begin(client);
    stage.run(20);
    const second = begin(again);
    stage.run(300);
    expect([first.answer, second.answer]).toEqual([undefined, undefined]);
    stage.run(1000);
    expect(placeOf(second.answer!)).toEqual(placeOf(first.answer!));
    expect(again.bodies('orders')).toEqual(['a']);
  });

  it('is uncertain like it when the disk does not confirm in time, and certain later', () => {
    const stage = new Stage({ flush: 'sync' }).start();
    const client = stage.client();
    stage.syncDelayMs = 5000;
    const first = beginOne(client, 'a', { sequence: 0 });
    stage.run(20);
    const second = beginOne(client, 'a', { sequence: 0 });
    stage.run(3000);
    expect([first.answer?.code, second.answer?.code]).toEqual([1, 1]);
    stage.run(5000);
    stage.syncDelayMs = 0;
    expect(one(client, 'a', { sequence: 0 }).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['a']);
  });

  it('is not certain when the store fails under both', () => {
    const stage = new Stage({ flush: 'sync' }).start();
    const client = stage.client();
    stage.syncDelayMs = 100;
    const first = beginOne(client, 'a', { sequence: 0 });
    const second = beginOne(client, 'a', { sequence: 0 });
    stage.disk.onCall = ({ kind }) => (kind === 'sync' ? 'EIO' : undefined);
    stage.run(1000);
    expect([first.answer?.code, second.answer?.code]).toEqual([1, 1]);
  });
});

describe('a numbered half or delayed message', () => {
  it('counts for the queue it is bound for, once, also after its commit', () => {
    const stage = new Stage().start();
    const client = stage.client();
    const props = { UNIQ_KEY: 'T1', TRAN_MSG: 'true', PGROUP: 'pay' };
    const first = one(client, 'half', { sequence: 0, props });
    expect(placeOf(one(client, 'half', { sequence: 0, props }))).toEqual(placeOf(first));
    const position = Number.parseInt(first.fields.get('msgId')!.slice(16), 16);
    const half = { id: 'T1', group: 'pay', offset: Number(first.fields.get('queueOffset')), position };
    expect(client.call('END_TRANSACTION', client.end(half, 'commit')).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['half']);
    expect(one(client, 'next', { sequence: 1 }).code).toBe(0);
    stage.restart();
    const later = stage.client();
    expect(placeOf(one(later, 'half', { sequence: 0, props }))).toEqual(placeOf(first));
    expect(one(later, 'third', { sequence: 2 }).code).toBe(0);
    expect(later.bodies('orders')).toEqual(['half', 'next', 'third']);
  });

  it('fires once, and its copy is no request', () => {
    const stage = new Stage({ delayLevelsMs: [100] }).start();
    const client = stage.client();
    const props = { UNIQ_KEY: 'D1', DELAY: '1' };
    const first = one(client, 'later', { sequence: 0, props });
    expect(one(client, 'now', { sequence: 1 }).code).toBe(0);
    stage.run(2000);
    expect(client.bodies('orders')).toEqual(['now', 'later']);
    stage.restart();
    const again = stage.client();
    expect(placeOf(one(again, 'later', { sequence: 0, props }))).toEqual(placeOf(first));
    expect(one(again, 'end', { sequence: 2 }).code).toBe(0);
    stage.run(2000);
    expect(again.bodies('orders')).toEqual(['now', 'later', 'end']);
  });
});

it('the answer to a heartbeat says that numbered requests are stored once', () => {
  const client = new Stage().start().client();
  expect(client.heartbeat({ producers: ['p'] }).fields.get('TS_DEDUP')).toBe('1');
});
