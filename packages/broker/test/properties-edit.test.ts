import { decodeProperties, encodeProperties } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { editProperties } from '../src/properties-edit.ts';
import { PropertyScan, Slot } from '../src/property-scan.ts';

const block = (...pairs: [string, string][]): Buffer => Buffer.from(encodeProperties(new Map(pairs)));

describe('editing properties', () => {
  it('leaves the bytes of all others as they were', () => {
    const raw = Buffer.concat([block(['KEYS', 'ä b'], ['DELAY', '3']), Buffer.from('X\u0001a\u0001b\u0002')]);
    const edited = editProperties(
      raw,
      new Map<string, string | undefined>([
        ['DELAY', undefined],
        ['RETRY_TOPIC', 't'],
      ]),
    );
    expect(edited.toString()).toBe('KEYS\u0001ä b\u0002X\u0001a\u0001b\u0002RETRY_TOPIC\u0001t\u0002');
  });

  it('replaces every occurrence of a name', () => {
    const raw = Buffer.from('REAL_TOPIC\u0001evil\u0002A\u0001b\u0002REAL_TOPIC\u0001worse\u0002');
    expect([...decodeProperties(editProperties(raw, new Map([['REAL_TOPIC', 'good']])))]).toEqual([
      ['A', 'b'],
      ['REAL_TOPIC', 'good'],
    ]);
  });

  it('mends a block whose last end mark is missing', () => {
    expect(editProperties(Buffer.from('A\u0001b'), new Map([['C', 'd']])).toString()).toBe('A\u0001b\u0002C\u0001d\u0002');
  });
});

describe('the scan of properties', () => {
  it('lets the last of several equal names count, so that what the broker appends wins', () => {
    const bytes = Buffer.from('REAL_TOPIC\u0001evil\u0002REAL_TOPIC\u0001good\u0002');
    expect(new PropertyScan().run(bytes, 0, bytes.length).text(Slot.REAL_TOPIC)).toBe('good');
  });

  it.each([
    ['3', 3],
    ['0', 0],
    ['', -1],
    ['-1', -1],
    ['x', -1],
    ['99999999999', -1],
  ])('reads "%s" as level %s', (text, level) => {
    const bytes = Buffer.from(`DELAY\u0001${text}\u0002`);
    expect(new PropertyScan().run(bytes, 0, bytes.length).number(Slot.DELAY)).toBe(level);
  });

  it.each([
    ['true', true],
    ['TrUE', true],
    ['false', false],
    ['tru', false],
    ['trueX', false],
    ['\u0014rue', false],
  ])('takes "%s" as true: %s', (text, expected) => {
    const bytes = Buffer.from(`TRAN_MSG\u0001${text}\u0002`);
    expect(new PropertyScan().run(bytes, 0, bytes.length).isTrue(Slot.TRANSACTION)).toBe(expected);
    expect(new PropertyScan().run(bytes, 0, 0).isTrue(Slot.TRANSACTION)).toBe(false);
  });

  it('knows whether more can be appended', () => {
    const scan = new PropertyScan();
    for (const [text, closed] of [
      ['', true],
      ['A\u0001b\u0002', true],
      ['A\u0001b', false],
    ] as const) {
      expect(scan.run(Buffer.from(text), 0, text.length).isClosed).toBe(closed);
    }
  });
});
