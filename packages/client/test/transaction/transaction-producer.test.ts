import { RequestCode } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import type { TransactionCallbacks, TransactionProducerCore } from '../../src/transaction/transaction-producer-core.ts';
import { type Asked, type FakeBroker, Stage, record } from '../fake-broker.ts';

const CODES: Record<string, string> = { '0': 'unknown', '8': 'commit', '12': 'rollback' };

/** What a confirmation said: `commit`, or `commit by check`. */
function ends(broker: FakeBroker): string[] {
  return broker
    .asks(RequestCode.END_TRANSACTION)
    .map(
      ({ fields }) =>
        CODES[fields.get('commitOrRollback')!]! + (fields.get('fromTransactionCheck') === 'true' ? ' by check' : ''),
    );
}

function started(listener: Partial<TransactionCallbacks> = {}): { stage: Stage; producer: TransactionProducerCore } {
  const stage = new Stage();
  stage.broker.topics.set('t', 2).set('TBW102', 8);
  const producer = stage
    .client()
    .transactionProducer({ group: 'bank', listener: { check: (_, answer) => answer('unknown'), ...listener } });
  const told: unknown[] = [];
  producer.start((error) => told.push(error));
  stage.time.settle();
  expect(told).toEqual([undefined]);
  return { stage, producer };
}

/** A check-back as brokers send it, on the connection opened last. */
function checkBack(stage: Stage, id: string, group = 'bank'): void {
  const properties = { PGROUP: group, UNIQ_KEY: id, TRAN_MSG: 'true', who: 'ann' };
  const body = record({ topic: 't', queueId: 1, offset: 7, body: Buffer.from('half'), properties });
  const fields = {
    tranStateTableOffset: 7,
    commitLogOffset: 4711,
    msgId: id,
    transactionId: id,
    topic: 'RMQ_SYS_TRANS_HALF_TOPIC',
    bname: 'broker-a',
  };
  stage.broker.peers.at(-1)!.oneway(RequestCode.CHECK_TRANSACTION_STATE, fields, body);
  stage.time.settle();
}

describe('transaction producer', () => {
  it('registers its group before its first send, and again first thing on a new connection', () => {
    const { stage } = started();
    const beats = (): Asked[] => stage.broker.asks(RequestCode.HEART_BEAT);
    expect(JSON.parse(beats()[0]!.body.toString())).toMatchObject({ clientID: 'me', producerDataSet: [{ groupName: 'bank' }] });
    const before = beats().length;
    stage.broker.cut();
    stage.time.advance(1000);
    expect(beats().length).toBeGreaterThan(before);
    const reconnected = stage.broker.asked.filter(({ connection }) => connection === stage.broker.peers.length - 1);
    expect(reconnected[0]!.code).toBe(RequestCode.HEART_BEAT);
  });

  it('takes no half message of which the broker does not know the place any more', () => {
    const { stage } = started();
    const options = { group: 'shop', idempotence: true, listener: { check: () => {} } };
    const producer = stage.client({ clientId: 'shop' }).transactionProducer(options);
    stage.broker.script = (code) => (code === RequestCode.SEND_MESSAGE_V2 ? { code: 1, reason: 'DUPLICATE_TOO_OLD' } : 'ok');
    const told: unknown[] = [];
    producer.half({ topic: 't', value: 'v' }, (error, half) => told.push(error?.code, error?.outcome, half));
    stage.time.advance(1000);
    expect(told).toEqual(['MALFORMED_ANSWER', 'unknown', undefined]);
  });

  it('closes at once when a second close says so, and its client forgets it', () => {
    const { stage } = started();
    const client = stage.client({ clientId: 'forgetful' });
    const producer = client.transactionProducer({ group: 'shop', listener: { check: () => {} } });
    expect(client.parts).toBe(1);
    stage.broker.script = (code) => (code === RequestCode.SEND_MESSAGE_V2 ? 'silent' : 'ok');
    const told: string[] = [];
    producer.half({ topic: 't', value: 'v' }, (error) => told.push(error?.code ?? 'ok'));
    stage.time.settle();
    producer.close(30_000, () => told.push('patient'));
    stage.time.settle();
    expect(told).toEqual([]);
    producer.close(0, () => told.push('now'));
    stage.time.settle();
    expect([told, client.parts]).toEqual([['CONNECTION_LOST', 'patient', 'now'], 0]);
  });

  it('keeps trying to start until a broker is there', () => {
    const stage = new Stage();
    stage.broker.topics.set('TBW102', 8);
    stage.broker.refuses = true;
    const producer = stage.client().transactionProducer({ group: 'bank', listener: { check: () => {} } });
    const told: unknown[] = [];
    producer.start((error) => told.push(error));
    stage.time.advance(5000);
    expect(told).toEqual([]);
    stage.broker.refuses = false;
    stage.time.advance(6000);
    expect(told).toEqual([undefined]);
  });

  it('says that it could not start when startTimeoutMs is over', () => {
    const stage = new Stage();
    stage.broker.refuses = true;
    const producer = stage.client({ startTimeoutMs: 2000 }).transactionProducer({ group: 'bank', listener: { check: () => {} } });
    const told: { outcome?: string }[] = [];
    producer.start((error) => told.push(error!));
    stage.time.advance(9000);
    expect(told[0]).toMatchObject({ outcome: 'unavailable' });
  });

  it('stores a half as a single prepared message with its group', () => {
    const { stage, producer } = started();
    producer.half({ topic: 't', value: 'v', key: 'k' }, () => {});
    producer.half({ topic: 't', value: 'w', key: 'k' }, () => {});
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['310', '310']);
    const [half] = stage.broker.arrived;
    expect([half!.sysFlag, half!.group, half!.properties.get('TRAN_MSG'), half!.properties.get('PGROUP')]).toEqual([
      4,
      'bank',
      'true',
      'bank',
    ]);
  });

  it.each(['commit', 'rollback'] as const)('tells the broker of a %s with the numbers of the half', (verdict) => {
    const { stage, producer } = started();
    producer.half({ topic: 't', value: 'v' }, (error, half) => {
      expect(error).toBeUndefined();
      half[verdict]();
    });
    stage.time.settle();
    expect(ends(stage.broker)).toEqual([verdict]);
    const { fields, oneway } = stage.broker.asks(RequestCode.END_TRANSACTION)[0]!;
    const id = stage.broker.arrived[0]!.properties.get('UNIQ_KEY');
    expect(oneway).toBe(true);
    expect(Object.fromEntries(fields)).toMatchObject({
      producerGroup: 'bank',
      tranStateTableOffset: '0',
      commitLogOffset: '0',
      msgId: id,
      transactionId: id,
      topic: 't',
    });
  });

  it.each([
    // what execute does, what is confirmed
    [(answer: (verdict: 'commit') => void) => answer('commit'), 'commit'],
    [(answer: (verdict: 'rollback') => void) => answer('rollback'), 'rollback'],
    [
      () => {
        throw new Error('no funds');
      },
      'unknown',
    ],
    [
      (answer: (verdict: 'commit' | 'rollback') => void) => {
        answer('commit');
        answer('rollback');
      },
      'commit',
    ],
  ])('listener form %#: confirms %s', (act, verdict) => {
    const { stage, producer } = started({
      execute: (_record, _receipt, _argument, answer) => (act as (answer: unknown) => void)(answer),
    });
    const told: string[] = [];
    producer.sendInTransaction({ topic: 't', value: 'v' }, 1, (_error, _half, said) => told.push(said));
    stage.time.settle();
    expect([told, ends(stage.broker)]).toEqual([[verdict], [verdict]]);
  });

  it.each([
    // the broker's reaction to the half, the caller's code, confirmations
    [{ code: 10 }, 'ROLLED_BACK', ['rollback']],
    [{ code: 11 }, 'ROLLED_BACK', ['rollback']],
    [{ code: 12 }, 'ROLLED_BACK', ['rollback']],
    [{ code: 1 }, 'SYSTEM_ERROR', []],
    [{ code: 13 }, 'MESSAGE_ILLEGAL', []],
    ['silent', 'TIMEOUT', []],
    ['cut', 'CONNECTION_LOST', []],
  ] as const)('half answered %j: fails with %s, executes nothing', (reaction, code, confirmed) => {
    let executed = 0;
    const { stage, producer } = started({ execute: () => void executed++ });
    stage.broker.script = (asked) => (asked === 310 ? reaction : 'ok');
    const told: (string | undefined)[] = [];
    producer.sendInTransaction({ topic: 't', value: 'v' }, undefined, (error) => told.push(error?.code));
    stage.time.advance(5000);
    expect([told, ends(stage.broker), executed]).toEqual([[code], confirmed, 0]);
  });

  it.each([
    [(answer: (verdict: string) => void) => answer('commit'), 'commit by check'],
    [(answer: (verdict: string) => void) => answer('rollback'), 'rollback by check'],
    [(answer: (verdict: string) => void) => answer('unknown'), 'unknown by check'],
    [
      () => {
        throw new Error('database away');
      },
      'unknown by check',
    ],
  ])('check-back %#: answers %s', (act, said) => {
    const ids: string[] = [];
    const { stage } = started({
      check: (message, answer) => {
        ids.push(message.id, message.headers.get('who')!, message.value.toString(), message.topic);
        (act as (answer: unknown) => void)(answer);
      },
    });
    checkBack(stage, 'ID1');
    expect([ids, ends(stage.broker)]).toEqual([['ID1', 'ann', 'half', 't'], [said]]);
    const { fields, oneway } = stage.broker.asks(RequestCode.END_TRANSACTION)[0]!;
    expect([oneway, fields.get('tranStateTableOffset'), fields.get('commitLogOffset'), fields.get('msgId')]).toEqual([
      true,
      '7',
      '4711',
      'ID1',
    ]);
  });

  it('answers a check that took its time, over the connection there is then', () => {
    let answer: ((verdict: 'commit') => void) | undefined;
    const { stage } = started({ check: (_, later) => (answer = later) });
    checkBack(stage, 'ID1');
    stage.broker.cut();
    stage.time.advance(1000);
    answer!('commit');
    stage.time.advance(1000);
    expect(ends(stage.broker)).toEqual(['commit by check']);
  });

  it('leaves checks of other groups and broken checks alone', () => {
    let checks = 0;
    const { stage } = started({ check: () => void checks++ });
    checkBack(stage, 'ID1', 'another');
    stage.broker.peers.at(-1)!.oneway(RequestCode.CHECK_TRANSACTION_STATE, {}, Buffer.from('junk'));
    stage.time.settle();
    expect([checks, ends(stage.broker), stage.reports.length]).toEqual([0, [], 1]);
  });

  it('takes no more checks at once than it is told', () => {
    let checks = 0;
    const stage = new Stage();
    stage.broker.topics.set('TBW102', 8);
    const producer = stage
      .client()
      .transactionProducer({ group: 'bank', checksMax: 2, listener: { check: () => void checks++ } });
    producer.start(() => {});
    stage.time.settle();
    for (const id of ['A', 'B', 'C']) checkBack(stage, id);
    expect(checks).toBe(2);
  });

  it('reports what the broker said to a confirmation that was to be confirmed', () => {
    const { stage, producer } = started();
    const told: (string | undefined)[] = [];
    producer.half({ topic: 't', value: 'v' }, (_, half) => {
      producer.endConfirmed(half, 'commit', (error) => told.push(error?.code));
    });
    stage.time.settle();
    stage.broker.script = (code) => (code === RequestCode.END_TRANSACTION ? { code: 1, remark: 'rolled back before' } : 'ok');
    producer.half({ topic: 't', value: 'v' }, (_, half) => {
      producer.endConfirmed(half, 'commit', (error) => told.push(error?.code));
    });
    stage.time.settle();
    expect(told).toEqual([undefined, 'SYSTEM_ERROR']);
  });

  it('leaves its group when it closes', () => {
    const { stage, producer } = started();
    let closed = false;
    producer.close(1000, () => (closed = true));
    stage.time.settle();
    const [leave] = stage.broker.asks(RequestCode.UNREGISTER_CLIENT);
    expect([closed, Object.fromEntries(leave!.fields)]).toEqual([true, { clientID: 'me', producerGroup: 'bank' }]);
  });
});
