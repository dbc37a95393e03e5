import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PropertyScan, Slot } from '../../src/property-scan.ts';
import { RealPlace } from '../../src/transaction/real-place.ts';

function placeIn(text: string): [string, number] {
  const block = Buffer.from(text);
  // Nothing before or behind the block may count.
  const bytes = Buffer.concat([Buffer.from('REAL_TOPIC\u0001before\u0002'), block, Buffer.from('7\u0002REAL_QID\u00019\u0002')]);
  const start = bytes.length - block.length - 13;
  const place = new RealPlace();
  place.read(bytes, start, start + block.length);
  return [place.topic, place.queueId];
}

function scannedIn(text: string): [string, number] {
  const block = Buffer.from(text);
  const scan = new PropertyScan().run(block, 0, block.length);
  return [scan.name(Slot.REAL_TOPIC), Math.max(0, scan.number(Slot.REAL_QUEUE))];
}

describe('where a half belongs', () => {
  it.each([
    ['A\u0001b\u0002REAL_TOPIC\u0001orders\u0002REAL_QID\u000112\u0002', 'orders', 12],
    ['REAL_TOPIC\u0001o\u0002REAL_QID\u00010\u0002', 'o', 0],
    ['REAL_QID\u00013\u0002REAL_TOPIC\u0001orders\u0002', 'orders', 3],
    ['REAL_TOPIC\u0001x\u0002REAL_QID\u00011\u0002A\u0001REAL_TOPIC\u0001y\u0002REAL_QID\u00012\u0002', 'x', 2],
    ['REAL_TOPIC\u0001orders\u0002REAL_QID\u0001\u0002', 'orders', 0],
    ['REAL_TOPIC\u0001orders\u0002REAL_QID\u00011x\u0002', 'orders', 0],
    ['XREAL_TOPIC\u0001orders\u0002REAL_QID\u00014\u0002', '', 4],
    ['REAL_TOPIC\u0001orders\u0002XREAL_QID\u00014\u0002', 'orders', 0],
    ['REAL_TOPIC\u0001orders\u0002REAL_QID\u000112345678901\u0002', 'orders', 0],
    ['', '', 0],
  ])('is read from %j', (text, topic, queueId) => {
    expect(placeIn(text)).toEqual([topic, queueId]);
  });

  it('is what the last properties of these names say, in any block', () => {
    const piece = fc.constantFrom(
      'REAL_TOPIC',
      'REAL_QID',
      'REAL_',
      '\u0001',
      '\u0002',
      'orders',
      '0',
      '17',
      '\u0001orders\u0002REAL_QID\u00015\u0002',
      'ä',
      'REAL_TOPIC\u0001pay\u0002',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join('');
        expect(placeIn(text)).toEqual(scannedIn(text));
      }),
      { numRuns: 5000 },
    );
  });
});
