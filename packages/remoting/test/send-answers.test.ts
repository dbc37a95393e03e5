import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emptySendAnswer, Frame, Output, parseFrame, SendAnswers, type HeaderKind } from '../src/index.ts';

const HOST = Uint8Array.of(127, 0, 0, 1, 0, 0, 0x26, 0x94);

function fieldsOf(out: Output): { frame: Frame; fields: Map<string, string> } {
  const chunks: Buffer[] = [];
  out.take((chunk) => chunks.push(Buffer.from(chunk)));
  const bytes = Buffer.concat(chunks);
  const frame = new Frame();
  expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
  expect(bytes.readUInt32BE(0) + 4).toBe(bytes.length);
  return { frame, fields: frame.fields() };
}

describe('answers to sends', () => {
  const key = fc.oneof(
    fc.stringMatching(/^[0-9A-F]{32}$/),
    fc.stringMatching(/^[ -~]{32}$/),
    fc.stringMatching(/^[a-z"\\\n]{1,40}$/),
    fc.constant('é'.repeat(16)),
  );
  const answer = fc.record({
    kind: fc.constantFrom<HeaderKind>(0, 1),
    code: fc.constantFrom(0, 0, 0, 10),
    opaque: fc.nat(0x7fffffff),
    position: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    queueId: fc.nat(120),
    queueOffset: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    storeTimestamp: fc.oneof(fc.integer({ min: 1e12, max: 1e13 - 1 }), fc.constantFrom(0, 1e13, 999)),
    key,
  });

  it('say the same, whether they are copied from a finished one or put together', () => {
    const answers = new SendAnswers(HOST);
    const out = new Output();
    fc.assert(
      fc.property(answer, ({ kind, code, opaque, position, queueId, queueOffset, storeTimestamp, key: text }) => {
        const transactionId = Buffer.from(`xx${text}yy`);
        const said = { ...emptySendAnswer(), code, positions: [position], queueId, queueOffset, storeTimestamp, transactionId };
        answers.encode(out, kind, opaque, { ...said, transactionIdStart: 2, transactionIdEnd: transactionId.length - 2 });
        const { frame, fields } = fieldsOf(out);
        expect([frame.code, frame.opaque, frame.isResponse, frame.headerKind]).toEqual([code, opaque, true, kind]);
        expect(Object.fromEntries(fields)).toEqual({
          MSG_REGION: 'DefaultRegion',
          TRACE_ON: 'true',
          storeTimestamp: String(storeTimestamp),
          msgId: `7F00000100002694${position.toString(16).toUpperCase().padStart(16, '0')}`,
          transactionId: text,
          queueId: String(queueId),
          queueOffset: String(queueOffset),
        });
      }),
      { numRuns: 500 },
    );
  });

  it.each<HeaderKind>([0, 1])('are whole at whatever place of a block they begin (header kind %i)', (kind) => {
    const answers = new SendAnswers(HOST);
    const transactionId = Buffer.from('0123456789ABCDEF0123456789ABCDEF');
    const long = { queueId: 42, queueOffset: Number.MAX_SAFE_INTEGER, storeTimestamp: 1.5e12, positions: [2 ** 40] };
    const answer = { ...emptySendAnswer(), ...long, transactionId, transactionIdEnd: transactionId.length };
    const first = new Output();
    answers.encode(first, kind, 0x7fffffff, answer);
    const alone = Buffer.from(first.bytes.subarray(0, first.at));
    for (let gap = 1; gap < 600; gap++) {
      const out = new Output();
      out.at = out.reserve(4096 - gap) + 4096 - gap;
      answers.encode(out, kind, 0x7fffffff, answer);
      const chunks: Buffer[] = [];
      out.take((chunk) => chunks.push(Buffer.from(chunk)));
      expect(
        Buffer.concat(chunks)
          .subarray(4096 - gap)
          .equals(alone),
      ).toBe(true);
    }
  });
});
