import { describe, expect, it } from 'vitest';
import { Ledger, queueKey, type QueueRead, type Sight } from './ledger.ts';

const TOPIC = 'orders';

function sight(id: string, offset: number, crc = 1): Sight {
  return { topic: TOPIC, queueId: 0, offset, id, crc };
}

function read(...records: Sight[]): QueueRead {
  return { topic: TOPIC, queueId: 0, minOffset: 0, maxOffset: records.length, records };
}

function broken(ledger: Ledger): string[] {
  return [...new Set(ledger.violations.map(({ invariant }) => invariant))].sort();
}

function sent(ledger: Ledger, id: string, offset: number, invokedAtMs = offset, answeredAtMs = invokedAtMs + 0.5): void {
  ledger.confirm(ledger.invoke(id, TOPIC, 1, invokedAtMs, false), answeredAtMs, 0, offset, offset * 100);
}

function half(ledger: Ledger, id: string): ReturnType<Ledger['invoke']> {
  const intent = ledger.invoke(id, TOPIC, 1, 0, true);
  ledger.confirm(intent, 1, 0, 7, 100);
  return intent;
}

describe('ledger', () => {
  it('accepts a history in which every confirmed message is where it was promised', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0);
    sent(ledger, 'b', 1);
    ledger.saw(sight('a', 0), 'consumer');
    ledger.settle([read(sight('a', 0), sight('b', 1))]);
    expect(ledger.violations).toEqual([]);
  });

  it('finds a confirmed message that is gone', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0);
    sent(ledger, 'b', 1);
    ledger.settle([read(sight('a', 0))]);
    expect(broken(ledger)).toEqual(['nothing-acked-is-lost', 'shown-is-durable']);
  });

  it('finds a message nobody sent, changed bytes, and a rejected message', () => {
    const ledger = new Ledger();
    ledger.answer(ledger.invoke('b', TOPIC, 1, 0, false), 'rejected', 1);
    ledger.invoke('c', TOPIC, 1, 0, false);
    ledger.settle([read(sight('a', 0), sight('b', 1), sight('c', 2, 99))]);
    expect(broken(ledger)).toEqual(['no-phantom', 'rejected-stays-out']);
  });

  it('lets an unknown message be there or not', () => {
    const ledger = new Ledger();
    ledger.answer(ledger.invoke('a', TOPIC, 1, 0, false), 'unknown', 1);
    ledger.answer(ledger.invoke('b', TOPIC, 1, 0, false), 'unknown', 1);
    ledger.settle([read(sight('b', 0))]);
    expect(ledger.violations).toEqual([]);
  });

  it('finds two copies, unless frames were duplicated', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0);
    ledger.settle([read(sight('a', 0), sight('a', 1))]);
    expect(broken(ledger)).toEqual(['stored-once']);
    const tolerant = new Ledger();
    sent(tolerant, 'a', 0);
    tolerant.intents.get('a')!.duplicates = 1;
    tolerant.settle([read(sight('a', 0), sight('a', 1))]);
    expect(tolerant.violations).toEqual([]);
  });

  it('finds a gap in the offsets and an offset that names two messages', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0);
    sent(ledger, 'b', 2);
    ledger.settle([read(sight('a', 0), sight('b', 2))]);
    expect(broken(ledger)).toContain('dense-offsets');
    const other = new Ledger();
    sent(other, 'a', 0);
    other.invoke('b', TOPIC, 1, 0, false);
    other.saw(sight('b', 0), 'consumer');
    expect(broken(other)).toEqual(['offset-names-one-message']);
  });

  it('finds a later message in front of an earlier one', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 1, 0, 1);
    sent(ledger, 'b', 0, 5, 6);
    ledger.settle([read(sight('b', 0), sight('a', 1))]);
    expect(broken(ledger)).toEqual(['per-queue-order']);
  });

  it('lets a repeat of what a power cut has taken lie behind what was sent since', () => {
    const order = (cut: boolean): string[] => {
      const ledger = new Ledger();
      sent(ledger, 'a', 1, 0, 1);
      if (cut) ledger.afterPowerCut(new Map([[queueKey(TOPIC, 0), 1]]), 0);
      sent(ledger, 'b', 0, 5, 6);
      ledger.settle([read(sight('b', 0), sight('a', 1))]);
      return broken(ledger);
    };
    expect(order(true)).toEqual([]);
    expect(order(false)).toEqual(['per-queue-order']);
  });

  it('lets messages whose times overlap lie in any order', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 1, 0, 6);
    sent(ledger, 'b', 0, 5, 7);
    ledger.settle([read(sight('b', 0), sight('a', 1))]);
    expect(ledger.violations).toEqual([]);
  });

  it('finds a half message that shows before its commit or after its rollback', () => {
    const early = new Ledger();
    half(early, 'h');
    early.saw(sight('h', 0), 'consumer');
    expect(broken(early)).toEqual(['half-is-invisible']);
    const rolled = new Ledger();
    rolled.decide(half(rolled, 'h'), 'rollback');
    rolled.settle([read(sight('h', 0))]);
    expect(broken(rolled)).toEqual(['rolled-back-stays-out']);
  });

  it('finds a committed half message that is missing or there twice', () => {
    const missing = new Ledger();
    missing.decide(half(missing, 'h'), 'commit');
    missing.settle([read()]);
    expect(broken(missing)).toEqual(['committed-is-visible']);
    const twice = new Ledger();
    twice.decide(half(twice, 'h'), 'commit');
    twice.settle([read(sight('h', 0), sight('h', 1))]);
    expect(broken(twice)).toEqual(['one-visible-copy']);
  });

  it('finds two opposite verdicts that were both confirmed', () => {
    const ledger = new Ledger();
    const intent = half(ledger, 'h');
    ledger.decide(intent, 'contested');
    ledger.verdictConfirmed(intent, 'rollback');
    ledger.verdictConfirmed(intent, 'commit');
    expect(broken(ledger)).toEqual(['first-verdict-wins']);
  });

  it('finds a consumer offset that went back or beyond the end', () => {
    const ledger = new Ledger();
    ledger.offsetRead('g', TOPIC, 0, 5, 10);
    ledger.offsetRead('g', TOPIC, 0, 4, 10);
    ledger.offsetRead('h', TOPIC, 0, 11, 10);
    expect(broken(ledger)).toEqual(['offsets-never-go-back', 'offsets-within-log']);
  });

  it('finds what was shown to a consumer and is gone', () => {
    const ledger = new Ledger();
    ledger.invoke('a', TOPIC, 1, 0, false);
    ledger.saw(sight('a', 0), 'consumer');
    ledger.settle([read()]);
    expect(broken(ledger)).toEqual(['shown-is-durable']);
  });

  it('lets an async broker lose the newest suffix in a power cut, and nothing older or in the middle', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0, 0, 10);
    sent(ledger, 'b', 1, 90, 95);
    expect(ledger.afterPowerCut(new Map([['orders/0', 1]]), 50)).toBe(1);
    ledger.settle([read(sight('a', 0))]);
    expect(ledger.violations).toEqual([]);

    const tooMuch = new Ledger();
    sent(tooMuch, 'a', 0, 0, 10);
    tooMuch.afterPowerCut(new Map([['orders/0', 0]]), 50);
    expect(broken(tooMuch)).toEqual(['async-loses-only-the-newest']);

    const hole = new Ledger();
    sent(hole, 'a', 0, 60, 61);
    hole.confirm(hole.invoke('b', TOPIC, 1, 62, false), 63, 1, 0, 500);
    hole.afterPowerCut(
      new Map([
        ['orders/0', 0],
        ['orders/1', 1],
      ]),
      50,
    );
    expect(broken(hole)).toEqual(['async-loses-a-suffix']);
  });

  it('finds a message that a group never finished', () => {
    const ledger = new Ledger();
    sent(ledger, 'a', 0);
    ledger.settleConsumption('g', [read(sight('a', 0))]);
    expect(broken(ledger)).toEqual(['consumed-by-every-group']);
    const done = new Ledger();
    done.consumed('g', 'a');
    done.settleConsumption('g', [read(sight('a', 0))]);
    expect(done.violations).toEqual([]);
  });
});
