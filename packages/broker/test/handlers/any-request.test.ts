import { COMMANDS, RequestCode, wireName, type CommandName, type FieldKind } from '@tallystick/remoting';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Stage } from '../broker-stage.ts';

const NAMES = Object.keys(COMMANDS) as CommandName[];

const texts = fc.constantFrom(
  'orders',
  'g',
  'pay',
  '*',
  'A||B',
  '%RETRY%g',
  '%DLQ%g',
  'RMQ_SYS_TRANS_HALF_TOPIC',
  'SCHEDULE_TOPIC_XXXX',
  'TBW102',
  '__proto__',
  'constructor',
  '',
  ' ',
  'ä\u0001ö\u0002',
  'TRAN_MSG\u0001true\u0002PGROUP\u0001pay\u0002UNIQ_KEY\u0001K1\u0002',
  'DELAY\u00019\u0002REAL_TOPIC\u0001RMQ_SYS_TRANS_HALF_TOPIC\u0002REAL_QID\u0001-5\u0002',
  'x'.repeat(300),
);
const numbers = fc.constantFrom(
  0,
  1,
  2,
  8,
  12,
  -1,
  4144,
  2147483647,
  -2147483648,
  9007199254740991,
  '9223372036854775807',
  'NaN',
  '1.5',
  '',
);
const bodies = fc.constantFrom(
  '',
  'x',
  '{}',
  '[]',
  '{"clientID":"c","producerDataSet":[{"groupName":"pay"}],"consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"orders","subString":"*"}]}]}',
  '{"consumerGroup":"g","clientId":"c","mqSet":[{"topic":"orders","brokerName":"broker-a","queueId":0},{"topic":null}]}',
  '{"clientID":5,"consumerDataSet":{"a":1}}',
  '\u0000\u0000\u0000\u0017\u0000\u0000',
);

function valueOf(kind: FieldKind): fc.Arbitrary<string | number> {
  if (kind === 'text') return texts;
  return kind === 'flag' ? fc.constantFrom('true', 'false', 'maybe') : numbers;
}

const requests = fc.constantFrom(...NAMES).chain((name) => {
  const fields = Object.entries(COMMANDS[name].request);
  const values = fields.map(([field, row]) =>
    fc.option(valueOf(row.kind), { freq: 12, nil: undefined }).map((value) => [wireName(field, row), value] as const),
  );
  return fc.record({ name: fc.constant(name), fields: fc.tuple(...values), body: bodies, oneway: fc.nat(9).map((n) => n === 0) });
});

describe('any request whatsoever', () => {
  it('is answered when it wants an answer, breaks nothing, and changes no topic of the broker', () => {
    fc.assert(
      fc.property(fc.array(requests, { minLength: 20, maxLength: 60 }), fc.constantFrom('json', 'binary'), (sequence, kind) => {
        const stage = new Stage({ delayLevelsMs: [20, 40], checkIntervalMs: 30 }).start();
        const client = stage.client('c', { kind: kind as 'json' });
        client.send('orders', 'first');
        const system = JSON.stringify(stage.core.topicList().filter((topic) => topic.system));
        for (const { name, fields, body, oneway } of sequence) {
          const wire = Object.fromEntries(fields.filter(([, value]) => value !== undefined));
          // Unknowns of a transaction are not answered, by RocketMQ's rule.
          const silent = name === 'END_TRANSACTION' && wire['commitOrRollback'] !== 8 && wire['commitOrRollback'] !== 12;
          if (oneway || silent) {
            client.peer.oneway(RequestCode[name], wire, Buffer.from(body));
            continue;
          }
          // Long polls wait their time.
          if ('suspendTimeoutMillis' in wire) wire['suspendTimeoutMillis'] = 10;
          const answer = client.raw(RequestCode[name], wire, Buffer.from(body));
          expect([name, wire, answer.remark ?? '']).toEqual([
            name,
            wire,
            expect.not.stringMatching(/TypeError|RangeError|ReferenceError|undefined/),
          ]);
        }
        stage.run(300);
        expect(client.closed).toBeUndefined();
        expect(stage.failures).toEqual([]);
        expect(JSON.stringify(stage.core.topicList().filter((topic) => topic.system))).toBe(system);
        expect(client.send('BenchmarkTest', 'last').code).toBe(0);
        const before = JSON.stringify([stage.core.topicList(), stage.core.halves().map(({ id, checks }) => [id, checks])]);
        stage.stop();
        stage.start();
        expect(JSON.stringify([stage.core.topicList(), stage.core.halves().map(({ id, checks }) => [id, checks])])).toBe(before);
      }),
      { numRuns: 40 },
    );
  });
});
