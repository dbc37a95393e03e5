import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RequestCode } from '../src/commands.ts';
import { EndRequests } from '../src/end-requests.ts';
import { Frame } from '../src/frame.ts';
import { parseFrame } from '../src/frame-reader.ts';
import { EndTransactionLocator } from '../src/hot-locators.ts';
import { Output } from '../src/output.ts';

describe('second confirmations from a template', () => {
  it('say what they were given, in both header kinds', () => {
    const ends = new EndRequests({ producerGroup: 'bank', topic: 'orders', brokerName: 'broker-a' });
    const numbers = fc.record({
      halfOffset: fc.integer({ min: 0, max: 2 ** 40 }),
      position: fc.integer({ min: 0, max: 2 ** 50 }),
      verdict: fc.constantFrom(0, 8, 12),
      idLow: fc.integer({ min: -1, max: 2 ** 32 - 1 }),
    });
    fc.assert(
      fc.property(fc.constantFrom(0 as const, 1 as const), numbers, fc.nat(0x7fffffff), (kind, given, opaque) => {
        const idPrefix = '0123456789ABCDEF01234567' + (given.idLow === -1 ? '89ABCDEF' : '');
        const out = new Output();
        ends.encode(out, kind, opaque, { ...given, idPrefix });
        const frame = new Frame();
        expect(parseFrame(frame, out.bytes, 0, out.at)).toBeUndefined();
        expect([frame.code, frame.opaque, frame.isOneway, frame.headerKind]).toEqual([
          RequestCode.END_TRANSACTION,
          opaque,
          true,
          kind,
        ]);
        const end = new EndTransactionLocator();
        expect(end.locate(frame)).toBe(true);
        const id = given.idLow === -1 ? idPrefix : idPrefix + given.idLow.toString(16).toUpperCase().padStart(8, '0');
        expect([end.producerGroup(), end.tranStateTableOffset(), end.commitLogOffset(), end.commitOrRollback()]).toEqual([
          'bank',
          given.halfOffset,
          given.position,
          given.verdict,
        ]);
        expect([end.msgId(), end.transactionId(), end.fromTransactionCheck()]).toEqual([id, id, false]);
        expect(Object.fromEntries(frame.fields())).toMatchObject({ topic: 'orders', bname: 'broker-a' });
      }),
    );
  });
});
