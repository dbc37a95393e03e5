import { describe, expect, it } from 'vitest';
import { seededRandom } from '@tallystick/base/testing';
import type { SendError } from '../../src/errors.ts';
import type { GivenProducerOptions } from '../../src/options.ts';
import { ProducerBatch } from '../../src/producer/producer-batch.ts';
import { QueueLane } from '../../src/producer/queue-lane.ts';
import { RequestNumbers } from '../../src/producer/request-numbers.ts';
import { type Reaction, Stage } from '../fake-broker.ts';
import { send } from './sent.ts';

const BUSY: Reaction = { code: 2 };
const GAP: Reaction = { code: 1, reason: 'OUT_OF_ORDER' };
const OLD: Reaction = { code: 1, reason: 'DUPLICATE_TOO_OLD' };

/** One letter a turn to one queue, or several as a batch; the n-th request gets the n-th reaction. */
function run(
  turns: readonly string[],
  reactions: readonly (Reaction | ((mark: string) => Reaction))[],
  options: GivenProducerOptions = {},
  honoured = true,
) {
  const stage = new Stage();
  stage.broker.topics.set('t', 1);
  stage.broker.deduplicates = honoured;
  let at = 0;
  stage.broker.script = (code, { fields }) => {
    if (code !== 310 && code !== 320) return 'ok';
    const reaction = reactions[at++] ?? 'ok';
    return typeof reaction !== 'function'
      ? reaction
      : reaction((fields.get('i') ?? '').split('\u0001')[1]?.split('\u0002')[0] ?? '');
  };
  const producer = stage.client().producer({ idempotence: true, retryBackoffMs: 10, requestTimeoutMs: 500, ...options });
  const told: string[] = [];
  for (const [n, letters] of turns.entries()) {
    for (const value of letters) {
      producer.send({ topic: 't', value, queueId: 0 }, (error) => told.push(value + (error?.code ?? '')));
    }
    // Only the first waits for its answer: the connection is open then.
    if (n === 0) stage.time.settle();
    else for (let turn = 0; turn < 2; turn++) stage.time.endTurn();
  }
  stage.time.advance(25_000);
  const numbered = stage.broker.arrived.map(({ body, properties }) => {
    const mark = properties.get('TS_SEQ');
    return mark === undefined ? body : `${body}${Number(mark.slice(33, 38))}:${Number(mark.slice(39))}`;
  });
  return { stage, producer, told, numbered };
}

describe('numbered requests', () => {
  it('count requests, not records, as the first property of the first record', () => {
    const { stage, numbered, told } = run(['a', 'bcd', 'e'], []);
    expect(told).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(numbered).toEqual(['a0:0', 'b0:1', 'c', 'd', 'e0:2']);
    const marks = stage.broker.arrived.map(({ properties }) => [...properties][0]!);
    expect([marks[0]![0], marks[2]![0]]).toEqual(['TS_SEQ', 'UNIQ_KEY']);
    expect(marks[0]![1]).toMatch(/^[0-9A-F]{32}:00000:000000000000$/);
    expect(marks[1]![1].slice(0, 32)).toBe(marks[0]![1].slice(0, 32));
  });

  it.each([
    // the broker's reactions to the sends of a, b, what is sent, what is told
    ['a lost connection', ['cut'], ['a0:0', 'a0:0', 'b0:1'], ['a', 'b']],
    ['silence', ['silent'], ['a0:0', 'b0:1', 'a0:0'], ['b', 'a']],
    ['a code that leaves it open', [{ code: 1 }], ['a0:0', 'b0:1', 'a0:0'], ['b', 'a']],
    ['a refusal', [BUSY], ['a0:0', 'b0:1', 'a0:0'], ['b', 'a']],
    ['a refusal and a gap behind it', [BUSY, GAP], ['a0:0', 'b0:1', 'a0:0', 'b0:1'], ['a', 'b']],
    ['a repetition too old to be told where', [{ code: 1 }, 'ok', OLD], ['a0:0', 'b0:1', 'a0:0'], ['b', 'a']],
  ] as [string, Reaction[], string[], string[]][])(
    'are sent again with the same number after %s',
    (_name, reactions, sent, told) => {
      const got = run(['x', 'a', 'b'], ['ok', ...reactions]);
      const minusOne = (line: string): string => line.replace(/:(\d+)/, (_, digits) => `:${Number(digits) - 1}`);
      expect(got.numbered.slice(1).map(minusOne)).toEqual(sent);
      expect(got.told.slice(1)).toEqual(told);
    },
  );

  it('of a repetition that is too old give a receipt that claims no place', () => {
    const { stage, producer } = run(['x'], []);
    stage.broker.script = (code) => (code === 310 ? OLD : 'ok');
    const told = send(producer, { topic: 't', value: 'a', queueId: 0 });
    stage.time.advance(100);
    const { offset, position, offsetMessageId, queueId, messageId } = told.receipt!;
    expect([offset, position, offsetMessageId, queueId]).toEqual([-1, -1, '', 0]);
    expect(messageId).toMatch(/^[0-9A-F]{32}$/);
  });

  it('begin a new epoch when a number will never be used', () => {
    const gaps = (mark: string): Reaction => (/:00000:0{11}[23]$/.test(mark) ? GAP : 'ok');
    const { numbered, told, producer } = run(['x', 'a', 'b', 'c'], ['ok', { code: 13 }, gaps, gaps, gaps, gaps]);
    expect(told).toEqual(['x', 'aMESSAGE_ILLEGAL', 'b', 'c']);
    expect(numbered.slice(0, 2)).toEqual(['x0:0', 'a0:1']);
    expect(numbered.filter((line) => line.includes('1:'))).toEqual(['b1:0', 'c1:1']);
    expect(producer.metrics().errors).toBe(1);
  });

  it('begin a new epoch when the broker has forgotten the earlier ones', () => {
    const { numbered, told } = run(['x', 'a'], ['ok', GAP]);
    expect(told).toEqual(['x', 'a']);
    expect(numbered).toEqual(['x0:0', 'a0:1', 'a1:0']);
  });

  it('begin no new epoch for what may be stored when the broker has forgotten the earlier ones', () => {
    const { numbered, told } = run(['x', 'a'], ['ok', 'cut', GAP]);
    expect(told).toEqual(['x', 'aTIMEOUT']);
    expect(numbered).toEqual(['x0:0', 'a0:1', 'a0:1']);
  });

  it('go on in a new epoch behind what has ended as unknown', () => {
    const { numbered, told } = run(['x', 'a', 'b'], ['ok', { code: 1 }, GAP, GAP, GAP]);
    expect(told).toEqual(['x', 'aTIMEOUT', 'b']);
    expect(numbered.filter((line) => line.startsWith('a'))).toEqual(['a0:1', 'a0:1']);
    expect(numbered.at(-1)).toBe('b1:0');
  });

  it('are unknown, not unsent, when their time is over after an attempt that may be stored', () => {
    const reactions = new Array<Reaction>(200).fill({ code: 1 });
    const { told } = run(['a'], reactions, { deliveryTimeoutMs: 2000 });
    expect(told).toEqual(['aTIMEOUT']);
  });

  it('come from a new producer when a queue has used up its epochs, and nothing else changes', () => {
    const numbers = new RequestNumbers(seededRandom(3));
    const lane = new QueueLane<ProducerBatch>('t', 'b', 0);
    const number = (of: QueueLane<ProducerBatch>): string => {
      const batch = new ProducerBatch(of, 0, Buffer.alloc(100), 0, 0, undefined, true, 0, undefined);
      numbers.mayGo(batch, () => {});
      numbers.number(batch);
      return batch.buffer.toString('latin1', 22, 22 + 59);
    };
    lane.epoch = 99_998;
    const marks = [number(lane)];
    for (let n = 0; n < 3; n++) {
      lane.gapAt = 0;
      marks.push(number(lane));
    }
    marks.push(number(lane), number(new QueueLane<ProducerBatch>('t', 'b', 1)));
    for (const mark of marks) expect(JSON.stringify(mark)).toMatch(/^"TS_SEQ\\u0001[0-9A-F]{32}:\d{5}:\d{12}\\u0002"$/);
    const ids = marks.map((mark) => mark.slice(7, 39));
    expect(marks.map((mark, n) => `${ids.indexOf(ids[n]!)} ${Number(mark.slice(40, 45))}:${Number(mark.slice(46, 58))}`)).toEqual(
      ['0 99998:0', '0 99999:0', '2 0:0', '2 1:0', '2 1:1', '0 0:0'],
    );
  });

  it('of queues that come after forgotten ones begin later, under a new producer when there is no later epoch', () => {
    const numbers = new RequestNumbers(seededRandom(3));
    const mark = (of: QueueLane<ProducerBatch>): string => {
      const batch = new ProducerBatch(of, 0, Buffer.alloc(100), 0, 0, undefined, true, 0, undefined);
      numbers.number(batch);
      return batch.buffer.toString('latin1', 29, 29 + 51);
    };
    const queue = (): QueueLane<ProducerBatch> => new QueueLane('t', 'b', 0);
    const stays = queue();
    let comes = queue();
    const marks = [mark(stays), mark(comes)];
    for (const epoch of [0, 99_998, 99_999]) {
      comes.epoch = epoch;
      numbers.retire([comes], [stays]);
      comes = queue();
      marks.push(mark(comes));
    }
    marks.push(mark(stays));
    const ids = marks.map((text) => text.slice(0, 32));
    expect(marks.map((text, n) => `${ids.indexOf(ids[n]!)} ${Number(text.slice(33, 38))}:${Number(text.slice(39))}`)).toEqual([
      '0 0:0',
      '0 0:0',
      '0 1:0',
      '0 99999:0',
      '4 0:0',
      '0 0:1',
    ]);
  });

  it('never leave their queue, nor more than five at a time', () => {
    const { stage, producer } = run(['x'], []);
    stage.broker.script = (code) => (code === 310 ? 'silent' : 'ok');
    for (let n = 0; n < 9; n++) {
      producer.send({ topic: 't', value: `${n}`, queueId: 0 }, () => {});
      stage.time.endTurn();
      stage.time.endTurn();
    }
    expect(producer.metrics().requestsInFlight).toBe(5);
  });

  it('count into the room for properties', () => {
    const { stage, producer } = run(['x'], []);
    const room = 32_767 - 'UNIQ_KEY..'.length - 32 - 'name..'.length - 'TS_SEQ..'.length - 51;
    const fits = send(producer, { topic: 't', value: 'a', queueId: 0, headers: { name: 'v'.repeat(room) } });
    const over = send(producer, { topic: 't', value: 'a', queueId: 0, headers: { name: 'v'.repeat(room + 1) } });
    stage.time.settle();
    expect([fits.error, over.error?.code]).toEqual([undefined, 'ILLEGAL_RECORD']);
    expect(over.error?.message).toContain('32709 bytes; the limit is 32708');
    const plain = stage.client({ clientId: 'other' }).producer();
    const told = send(plain, { topic: 't', value: 'a', headers: { name: 'v'.repeat(room + 59) } });
    stage.time.settle();
    expect(told.error).toBeUndefined();
  });

  it('protect nobody where the broker does not honour them, which is said once', () => {
    const { stage, told } = run(['x', 'a', 'b'], ['ok', { code: 1 }, { code: 1 }], {}, false);
    expect(told).toEqual(['x', 'aSYSTEM_ERROR', 'bSYSTEM_ERROR']);
    expect(stage.reports.filter((line) => line.includes('idempotence')).length).toBe(1);
  });
});

describe('what a broker has said about numbers', () => {
  it('does not hold for the next connection until it is said again', () => {
    const { stage, told, sends } = unsaid(true);
    stage.time.advance(20_000);
    expect([told, sends()]).toEqual([['ok'], 1]);
    stage.time.advance(100_000);
    expect([told, sends()]).toEqual([['ok', 'TIMEOUT unknown'], 1]);
  });

  it('is waited for before anybody says that numbers are not honoured', () => {
    const { stage, told, sends } = unsaid(true);
    stage.time.advance(100);
    const { script } = stage.broker;
    stage.broker.script = (code, ask) => (code === 34 ? 'ok' : script(code, ask));
    stage.time.advance(20_000);
    expect([told, sends()]).toEqual([['ok', 'ok'], 2]);
    expect(stage.reports.filter((line) => line.includes('idempotence'))).toEqual([]);
  });

  it('is not waited for by the first number of a queue, which a broker without memory of it would store again', () => {
    const { stage, told, sends } = unsaid(false);
    stage.time.advance(2000);
    expect([told, sends()]).toEqual([['CONNECTION_LOST unknown'], 1]);
    expect(stage.reports.filter((line) => line.includes('idempotence'))).toEqual([]);
  });

  /** A send whose connection breaks before its broker has said anything about numbers; `warm`: an earlier connection had said it. */
  function unsaid(warm: boolean) {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    stage.broker.deduplicates = true;
    const producer = stage.client().producer({ idempotence: true, requestTimeoutMs: 500, retryBackoffMs: 10 });
    const told: string[] = [];
    const sendOne = (): void =>
      void producer.send({ topic: 't', value: 'v' }, (error) => told.push(error ? `${error.code} ${error.outcome}` : 'ok'));
    if (warm) {
      sendOne();
      stage.time.settle();
      stage.broker.script = (code) => (code === 34 ? 'silent' : 'ok');
      stage.broker.cut();
      stage.time.advance(300);
    }
    let sends = 0;
    stage.broker.script = (code) => (code === 34 ? 'silent' : code === 310 && sends++ === 0 ? 'cut' : 'ok');
    sendOne();
    return { stage, told, sends: () => sends };
  }

  it('is asked when a repetition leaves: a broker that comes back without it does not get one', () => {
    const { stage, told, sends } = comesBack((stage) => void (stage.broker.deduplicates = false));
    stage.time.advance(2000);
    expect([told, sends()]).toEqual([['CONNECTION_LOST unknown'], 1]);
  });

  it('is waited for before a repetition leaves', () => {
    let answer: (reaction: Reaction) => void = () => {};
    const { stage, told, sends } = comesBack(
      (stage) => {
        stage.broker.script = (code) => (code === 34 && !stage.broker.deduplicates ? 'silent' : 'ok');
        stage.broker.deduplicates = false;
        answer = () => (stage.broker.deduplicates = true);
      },
      { requestTimeoutMs: 500 },
    );
    stage.time.advance(400);
    expect([told, sends()]).toEqual([[], 1]);
    // The heartbeat without an answer ends the connection; the next one tells.
    answer('ok');
    stage.time.advance(10_000);
    expect([told, sends()]).toEqual([['ok'], 2]);
  });

  /** A send is stored by a broker that honours numbers, whose line breaks before the answer; then something about it changes. */
  function comesBack(then: (stage: Stage) => void, options: GivenProducerOptions = {}) {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    stage.broker.deduplicates = true;
    const producer = stage.client().producer({ idempotence: true, retryBackoffMs: 10, ...options });
    producer.send({ topic: 't', value: 'warm' }, () => {});
    stage.time.settle();
    const before = stage.broker.sends.length;
    stage.broker.script = (code) => {
      if (code !== 310) return 'ok';
      stage.broker.script = () => 'ok';
      then(stage);
      return 'cut';
    };
    const told: string[] = [];
    const say = (error: SendError | undefined): void =>
      void told.push(error === undefined ? 'ok' : `${error.code} ${error.outcome}`);
    producer.send({ topic: 't', value: 'PAY' }, say);
    return { stage, told, sends: () => stage.broker.sends.length - before };
  }

  it('lets nothing that may be stored be cut in two, which would give it new numbers', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    stage.broker.deduplicates = true;
    const producer = stage.client().producer({ idempotence: true, requestTimeoutMs: 500, retryBackoffMs: 10 });
    producer.send({ topic: 't', value: 'warm' }, () => {});
    stage.time.settle();
    let sends = 0;
    stage.broker.script = (code) => {
      if (code !== 310 && code !== 320) return 'ok';
      return sends++ === 0 ? 'silent' : sends === 2 ? { code: 13 } : 'ok';
    };
    const told: string[] = [];
    for (const value of ['a', 'b']) producer.send({ topic: 't', value }, (error) => told.push(error?.outcome ?? 'ok'));
    stage.time.advance(5000);
    expect([told, sends]).toEqual([['unknown', 'unknown'], 2]);
  });
});
