import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pipe, viewOf } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';

import { parseFrame } from '../src/frame-reader.ts';
import { Frame, type HeaderKind } from '../src/frame.ts';
import { SendAnswerLocator, SendLocator } from '../src/hot-locators.ts';
import { Output } from '../src/output.ts';
import { Peer } from '../src/peer.ts';
import type { PeerError, ReplySink } from '../src/pending-requests.ts';
import { SendAck } from '../src/send-ack.ts';
import { SendAnswers, emptySendAnswer } from '../src/send-answers.ts';
import { numberFrames } from '../src/frame-numbers.ts';
import { SendFrames } from '../src/send-frames.ts';
import { SendRequests, emptySendRequest } from '../src/send-requests.ts';

const ROUTE = {
  producerGroup: 'g',
  topic: 'orders',
  queueId: 3,
  defaultTopic: 'TBW102',
  defaultTopicQueueNums: 4,
  batch: false,
  brokerName: 'broker-a',
};
const KINDS: readonly HeaderKind[] = [0, 1];
const HOST = Buffer.from([10, 0, 0, 1, 0, 0, 0x26, 0x94]);

/** Lays one send into `into` as a producer does. */
function lay(frames: SendFrames, into: Buffer, at: number, born: number, properties: Buffer, body: Buffer): number {
  const propertiesAt = frames.begin(into, at, born);
  const bodyAt = frames.escapes
    ? frames.sealEscaped(into, at, properties, 0, properties.length)
    : frames.seal(viewOf(into), at, propertiesAt + properties.copy(into, propertiesAt));
  const end = bodyAt + body.copy(into, bodyAt);
  into.writeInt32BE(end - at - 4, at);
  return end;
}

const message = fc.record({
  born: fc.integer({ min: 1e12, max: 1e13 - 1 }),
  properties: fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes.map((byte) => byte & 0x7f))),
  body: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
});

describe('finished send frames', () => {
  it('are byte for byte what the encoder of single requests writes, whatever their kind and numbers', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...KINDS),
        fc.constantFrom(0, 4, 0x301),
        fc.array(message, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 0x40000000, max: 0x7ffffff0 }),
        (kind, sysFlag, messages, opaque) => {
          const frames = new SendFrames(ROUTE, kind, sysFlag);
          const run = Buffer.alloc(32 * 1024);
          const out = new Output();
          const encoder = new SendRequests(ROUTE);
          let end = 0;
          for (const [n, { born, properties, body }] of messages.entries()) {
            end = lay(frames, run, end, born, properties, body);
            const send = { ...emptySendRequest(), sysFlag, bornTimestamp: born, properties, body };
            encoder.encode(out, kind, opaque + n, { ...send, propertiesEnd: properties.length, bodyEnd: body.length });
          }
          numberFrames(run, 0, end, opaque);
          expect(run.subarray(0, end)).toEqual(out.bytes.subarray(0, out.at));
        },
      ),
    );
  });

  it('are made anew for another queue as if they had been made for it', () => {
    const elsewhere = { ...ROUTE, brokerName: 'broker-beta', queueId: 11 };
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), fc.array(message, { minLength: 1, maxLength: 8 }), (kind, messages) => {
        const [from, to] = [new SendFrames(ROUTE, kind, 4), new SendFrames(elsewhere, kind, 4)];
        const [run, wanted, made] = [Buffer.alloc(32 * 1024), Buffer.alloc(32 * 1024), Buffer.alloc(32 * 1024)];
        let end = 0;
        let wantedEnd = 0;
        for (const { born, properties, body } of messages) {
          end = lay(from, run, end, born, properties, body);
          wantedEnd = lay(to, wanted, wantedEnd, born, properties, body);
        }
        numberFrames(run, 0, end, 0x41234567);
        const madeEnd = to.rewrite(from, run, end, made);
        numberFrames(made, 0, madeEnd, 0x40000000);
        numberFrames(wanted, 0, wantedEnd, 0x40000000);
        expect(made.subarray(0, madeEnd)).toEqual(wanted.subarray(0, wantedEnd));
      }),
    );
  });
});

function answerBytes(kind: HeaderKind, opaque: number, numbers: Partial<ReturnType<typeof emptySendAnswer>>): Buffer {
  const out = new Output();
  new SendAnswers(HOST).encode(out, kind, opaque, { ...emptySendAnswer(), storeTimestamp: 1_700_000_000_000, ...numbers });
  return Buffer.from(out.bytes.subarray(0, out.at));
}

const frameOf = (bytes: Buffer): Frame => {
  const frame = new Frame();
  expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
  return frame;
};

const answer = fc.record({
  queueId: fc.integer({ min: 0, max: 70_000 }),
  queueOffset: fc.integer({ min: 0, max: 2 ** 45 }),
  positions: fc.integer({ min: 0, max: 2 ** 50 }).map((position) => [position]),
  storeTimestamp: fc.integer({ min: 1e12, max: 1e13 - 1 }),
  transactionId: fc.constant(Buffer.from('0123456789ABCDEF0123456789ABCDEF')),
  transactionIdEnd: fc.constantFrom(0, 32),
});

describe('the short reading of a send answer', () => {
  it('says what the decoder says', () => {
    const ack = new SendAck();
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), answer, (kind, numbers) => {
        const bytes = answerBytes(kind, 0x40000001, numbers);
        const located = new SendAnswerLocator();
        expect(located.locate(frameOf(bytes))).toBe(true);
        expect(ack.read(bytes, 0, bytes.length)).toBe(true);
        const position = (ack.positionHigh >>> 0) * 4294967296 + (ack.positionLow >>> 0);
        const id = ack.host + position.toString(16).toUpperCase().padStart(16, '0');
        expect([ack.queueId, ack.queueOffset, ack.storeTimestamp, id]).toEqual([
          located.queueId(),
          located.queueOffset(),
          located.storeTimestamp(),
          located.msgId(),
        ]);
      }),
    );
  });

  it('leaves alone what is no success, and never throws on damaged bytes', () => {
    const ack = new SendAck();
    for (const kind of KINDS) {
      const bytes = answerBytes(kind, 0x40000001, { code: 10 });
      expect(ack.read(bytes, 0, bytes.length)).toBe(false);
    }
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), answer, fc.nat(), fc.nat(255), fc.nat(), (kind, numbers, place, byte, cut) => {
        const bytes = answerBytes(kind, 0x40000001, numbers);
        bytes[place % bytes.length] = byte;
        expect([true, false]).toContain(ack.read(bytes, 0, bytes.length - (cut % 40)));
      }),
    );
  });
});

/** A peer that sends runs, and one that answers each send with its queue offset. */
function stage(answers: (n: number, peer: Peer, frame: Frame) => void) {
  const time = new ManualTime();
  const ports = { clock: time, timers: time, turn: time };
  const [ours, theirs] = pipe(time, ['client', 'broker']);
  const told: string[] = [];
  const located = new SendLocator();
  const bodies: string[] = [];
  const serving = new Peer(
    theirs,
    ports,
    {},
    {
      onRequest: (peer, frame) => {
        expect(located.locate(frame)).toBe(true);
        bodies.push(frame.body().toString());
        answers(bodies.length - 1, peer, frame);
      },
      onClose: () => {},
    },
  );
  const peer = new Peer(ours, ports, { kind: 'binary' }, { onRequest: () => {}, onClose: () => {} });
  const ack = new SendAck();
  const sink: ReplySink = {
    onReply: (token, error: PeerError | undefined, reply) => void told.push(`${token} ${error?.kind ?? `code ${reply.code}`}`),
    reads: (bytes, at, end) => ack.read(bytes, at, end),
    onRead: (token) => void told.push(`${token} at ${ack.queueOffset}`),
  };
  const send = (count: number, timeoutMs = 1000): boolean => {
    const frames = new SendFrames(ROUTE, 1, 0);
    const run = Buffer.alloc(64 * 1024);
    let end = 0;
    for (let n = 0; n < count; n++)
      end = lay(frames, run, end, 1_700_000_000_000, Buffer.from('a\u0001b\u0002'), Buffer.from(`${n}`));
    return peer.requestFrames(run, end, count, timeoutMs, sink);
  };
  return { time, peer, serving, told, bodies, send };
}

describe('a run of requests', () => {
  const encoder = new SendAnswers(HOST);
  const acknowledge = (n: number, peer: Peer, frame: Frame): void =>
    peer.answerWith(
      encoder,
      { ...emptySendAnswer(), queueOffset: 100 + n, storeTimestamp: 1e12 },
      frame.headerKind,
      frame.opaque,
    );

  it('goes out in one piece and gets each answer under its own number, in any order', () => {
    const late: (() => void)[] = [];
    const { time, told, bodies, send } = stage((n, peer, frame) => {
      const ref = frame.ref();
      late.push(() => peer.answerWith(encoder, { ...emptySendAnswer(), queueOffset: 100 + n }, ref.kind, ref.opaque));
    });
    expect(send(3)).toBe(true);
    time.settle();
    expect(bodies).toEqual(['0', '1', '2']);
    late[2]!();
    late[0]!();
    late[1]!();
    time.settle();
    expect(told).toEqual(['2 at 102', '0 at 100', '1 at 101']);
  });

  it('hands refusals on decoded, next to successes that are not', () => {
    const { time, told, send } = stage((n, peer, frame) => {
      if (n === 1) peer.answer(frame.ref(), 2, 'busy');
      else acknowledge(n, peer, frame);
    });
    send(3);
    time.settle();
    expect(told).toEqual(['0 at 100', '1 code 2', '2 at 102']);
  });

  it('fails what is unanswered when its time is over, once', () => {
    const { time, told, send } = stage((n, peer, frame) => {
      if (n === 0) acknowledge(n, peer, frame);
    });
    send(3, 500);
    time.advance(501);
    expect(told).toEqual(['0 at 100', '1 timeout', '2 timeout']);
  });

  it('is refused in one piece by a connection that has closed', () => {
    const { time, peer, told, send } = stage(acknowledge);
    peer.close(false);
    expect(send(2)).toBe(false);
    time.settle();
    expect(told).toEqual([]);
  });

  it('finds room for its numbers between requests that wait long', () => {
    const { time, peer, told, send } = stage((n, from, frame) => {
      if (frame.body().toString() !== 'wait') acknowledge(n, from, frame);
    });
    const waiting = emptySendRequest();
    waiting.body = Buffer.from('wait');
    waiting.bodyEnd = 4;
    for (let round = 0; round < 40; round++) {
      peer.requestWith(new SendRequests(ROUTE), waiting, 60_000, { onReply: () => {} }, 0);
      expect(send(1 + (round % 7) * 9)).toBe(true);
      time.settle();
    }
    let sent = 0;
    for (let round = 0; round < 40; round++) sent += 1 + (round % 7) * 9;
    expect(told.length).toBe(sent);
    expect(peer.pendingCount).toBe(40);
  });
});
