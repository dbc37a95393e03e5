import { describe, expect, it } from 'vitest';
import { pipe } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';
import {
  decodeAnswer,
  decodeHeader,
  emptySendAnswer,
  emptySendRequest,
  encodeHost,
  encodeProperties,
  offsetMessageId,
  Peer,
  RequestCode,
  SendAnswerLocator,
  SendAnswers,
  SendLocator,
  SendRequests,
  type Frame,
} from '../src/index.ts';

describe.each(['json', 'binary'] as const)('a client and a broker that talk %s', (kind) => {
  const host = encodeHost('127.0.0.1', 9876)!;

  function pair(onRequest: (peer: Peer, frame: Frame) => void) {
    const time = new ManualTime();
    const ports = { clock: time, timers: time, turn: time };
    const [near, far] = pipe(time);
    const client = new Peer(near, ports, { kind }, { onRequest, onClose: () => {} });
    const broker = new Peer(far, ports, {}, { onRequest, onClose: () => {} });
    return { time, client, broker };
  }

  it('send by template, locate, answer by template, and read the answer', () => {
    const answers = new SendAnswers(host);
    const seen: unknown[] = [];
    const { time, client } = pair((peer, frame) => {
      const send = new SendLocator();
      expect(send.locate(frame), send.fault()).toBe(true);
      seen.push(
        frame.code,
        frame.headerKind,
        send.producerGroup(),
        send.topic(),
        send.queueId(),
        send.bornTimestamp(),
        send.sysFlag(),
      );
      seen.push(send.propertiesBytes.toString('utf8', send.propertiesStart, send.propertiesEnd), frame.body().toString());
      const answer = emptySendAnswer();
      answer.positions = [4294967296 + 255];
      answer.queueId = 3;
      answer.queueOffset = 5_000_000_000;
      answer.storeTimestamp = 1_700_000_000_123;
      answer.transactionId = Buffer.from('KEY"1');
      answer.transactionIdEnd = 5;
      peer.answerWith(answers, answer, frame.headerKind, frame.opaque);
    });
    const requests = new SendRequests({
      producerGroup: 'pg',
      topic: 'Orders',
      queueId: 3,
      defaultTopic: 'TBW102',
      defaultTopicQueueNums: 4,
      batch: false,
    });
    const send = emptySendRequest();
    const properties = encodeProperties([
      ['UNIQ_KEY', 'A1'],
      ['note', 'héllo "x" \\ ü€😀'],
    ]);
    Object.assign(send, {
      bornTimestamp: 1_700_000_000_000,
      properties,
      propertiesEnd: properties.length,
      body: Buffer.from('xhello'),
      bodyStart: 1,
      bodyEnd: 6,
    });
    client.requestWith(
      requests,
      send,
      1000,
      {
        onReply: (token, error, reply) => {
          const located = new SendAnswerLocator();
          expect(error).toBeUndefined();
          expect(located.locate(reply), located.fault()).toBe(true);
          seen.push(
            token,
            reply.code,
            located.msgId(),
            located.queueId(),
            located.queueOffset(),
            located.transactionId(),
            located.storeTimestamp(),
          );
          expect(decodeAnswer('SEND_MESSAGE_V2', reply)).toMatchObject({ MSG_REGION: 'DefaultRegion', TRACE_ON: true });
        },
      },
      77,
    );
    time.settle();
    expect(seen).toEqual([
      310,
      kind === 'json' ? 0 : 1,
      'pg',
      'Orders',
      3,
      1_700_000_000_000,
      0,
      'UNIQ_KEY\u0001A1\u0002note\u0001héllo "x" \\ ü€😀\u0002',
      'hello',
      77,
      0,
      offsetMessageId(host, 4294967296 + 255),
      3,
      5_000_000_000,
      'KEY"1',
      1_700_000_000_123,
    ]);
  });

  it('ask both ways, with fields, remarks and bodies', () => {
    const seen: unknown[] = [];
    const { time, client, broker } = pair((peer, frame) => {
      const header = decodeHeader('GET_MAX_OFFSET', frame);
      seen.push(header);
      peer.answer(frame.ref(), 22, 'nothing "here"\n', { offset: -1 }, [Buffer.from('ab'), Buffer.from('c')]);
    });
    const done = (error: unknown, reply: Frame): void => {
      seen.push(error, reply.code, reply.remark(), [...reply.fields()], reply.body().toString());
    };
    client.request(RequestCode.GET_MAX_OFFSET, { topic: 'T', queueId: 1, committed: true }, undefined, 1000, done);
    time.settle();
    broker.request(RequestCode.GET_MAX_OFFSET, { topic: 'ü', queueId: 'x' }, undefined, 1000, done);
    time.settle();
    const answered = [undefined, 22, 'nothing "here"\n', [['offset', '-1']], 'abc'];
    expect(seen).toEqual([{ topic: 'T', queueId: 1, committed: true }, ...answered, 'field queueId is not an i32', ...answered]);
  });
});
