import { encodeProperties } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import type { RecordView } from '../../src/store/record-view.ts';
import { NO_SINK, type Derived, type MessageInterest } from '../../src/store/store-types.ts';
import { Machine, messageOf } from './machine.ts';

/** A part that notes the bodies it is told of, live and in recovery. */
class Listener implements Derived {
  readonly name: string;
  readonly records = 'all';
  readonly interest: MessageInterest | undefined;
  readonly live: string[] = [];
  readonly recovered: string[] = [];

  constructor(name: string, interest: MessageInterest | undefined) {
    this.name = name;
    this.interest = interest;
  }

  apply(record: RecordView, live: boolean): void {
    (live ? this.live : this.recovered).push(record.body.toString());
  }

  snapshot(): Uint8Array {
    return new Uint8Array(0);
  }

  restore(): void {}
}

function told(...interests: (MessageInterest | undefined)[]): { live: string[][]; recovered: string[][] } {
  let listeners: Listener[] = [];
  const make = (): Listener[] => (listeners = interests.map((interest, n) => new Listener(`listener-${n}`, interest)));
  const machine = new Machine(7, {}, {}, make);
  machine.open();
  const { store } = machine;
  const append = (topic: string, body: string, sysFlag: number, first: string): void => {
    const m = messageOf(store, topic, 0, body);
    m.sysFlag = sysFlag;
    if (first !== '') m.setProperties(encodeProperties([[first, 'x']]));
    store.append(m, 'synced', NO_SINK, 0);
  };
  append('orders', 'plain', 0, '');
  append('orders', 'other property', 1, 'KEYS');
  append('halves', 'topic', 0, '');
  append('orders', 'bits', 8, 'KEYS');
  append('orders', 'first property', 0, 'TS_SEQ');
  machine.run(1000);
  const live = listeners.map((listener) => listener.live);
  machine.kill();
  machine.open();
  return { live, recovered: listeners.map((listener) => listener.recovered) };
}

describe('messages that the derived parts are told of', () => {
  it('are those that one of them asked for, at the append as in recovery', () => {
    const expected = ['topic', 'bits', 'first property'];
    const { live, recovered } = told({ topic: 'halves', sysFlagBits: 12 }, { firstProperty: 'TS_SEQ' });
    expect(live).toEqual([expected, expected]);
    expect(recovered).toEqual([expected, expected]);
  });

  it('are all when one of them did not say which', () => {
    const all = ['plain', 'other property', 'topic', 'bits', 'first property'];
    const { live, recovered } = told({ topic: 'halves' }, undefined);
    expect(live).toEqual([all, all]);
    expect(recovered).toEqual([all, all]);
  });

  it('are all when one of them asked for a first property too short to be told by its first four bytes', () => {
    expect(told({ firstProperty: 'TS_' }).live).toEqual([['plain', 'other property', 'topic', 'bits', 'first property']]);
  });
});
