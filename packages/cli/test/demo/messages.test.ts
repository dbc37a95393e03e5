import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mendTransfer, readTransfer, writeTransfer } from '../../src/demo/messages.ts';

const transfers = fc.record({
  number: fc.integer({ min: 1 }),
  to: fc.string({ minLength: 1 }),
  amountMinor: fc.integer({ min: 1, max: 50_000 }),
});

describe('a transfer message', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(transfers, (transfer) => {
        expect(readTransfer(writeTransfer(transfer, false))).toEqual(transfer);
      }),
    );
  });

  it('cannot be read when poisoned, and means the same once mended', () => {
    fc.assert(
      fc.property(transfers, (transfer) => {
        const poison = writeTransfer(transfer, true);
        expect(() => readTransfer(poison)).toThrow('is not a number of cents');
        expect(readTransfer(mendTransfer(poison))).toEqual(transfer);
      }),
    );
  });

  it.each(['{}', '[]', 'null', '{"number":1,"to":"Bob","amount":-1}', '{"number":1,"to":"Bob","amount":1.5}', 'no json'])(
    'refuses %s',
    (text) => {
      expect(() => readTransfer(text)).toThrow();
    },
  );
});
