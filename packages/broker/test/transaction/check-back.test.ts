import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, it } from 'vitest';
import { CheckBack, type CheckRound, type HalfAsker } from '../../src/transaction/check-back.ts';
import { PARKED_COUNT, readCheckCounts } from '../../src/transaction/half-records.ts';
import type { HalfRow } from '../../src/transaction/half-row.ts';
import { HalfTable } from '../../src/transaction/half-table.ts';

/** A table with a check-back over it whose control records are applied at once, as the log would. */
function stage(options: { checkMax?: number; perRound?: number; later?: boolean } = {}) {
  const time = new ManualTime(1_000_000);
  const table = new HalfTable();
  const asked: string[] = [];
  const rounds: CheckRound[] = [];
  const records: [number, number][][] = [];
  const live = new Set<string>(['pay', 'unreachable']);
  const reachable = new Set<string>(['pay', 'gone']);
  const later = options.later === true;
  const asker: HalfAsker = {
    hasProducer: (group) => live.has(group),
    ask(row: HalfRow, times, done) {
      asked.push(`${row.id}#${times}`);
      const sent = reachable.has(row.group);
      if (later) time.after(1, () => done(sent));
      else done(sent);
    },
  };
  const journal = {
    control(_type: number, body: Uint8Array): void {
      const counts: [number, number][] = [];
      readCheckCounts(body, (offset, count) => {
        counts.push([offset, count]);
        if (count === PARKED_COUNT) table.park(offset);
        else table.setChecks(offset, count);
      });
      records.push(counts);
    },
  };
  const settings = {
    checkAfterMs: 6000,
    checkIntervalMs: 30_000,
    checkMax: options.checkMax ?? 15,
    checksPerRoundMax: options.perRound ?? 100,
  };
  const checkBack = new CheckBack({ clock: time, timers: time, turn: time }, settings, table, asker, journal, (round) =>
    rounds.push(round),
  );
  checkBack.start();
  let next = 0;
  const half = (id: string, group = 'pay'): number => {
    table.add(next, 100 + next * 100, time.now(), group, 'orders', id);
    return next++;
  };
  return { time, table, asked, rounds, records, live, half, checkBack };
}

describe('check-back', () => {
  it('asks about a half in the first round in which it is six seconds old', () => {
    const { time, asked, half } = stage();
    half('old');
    time.advance(25_000);
    half('young');
    time.advance(5000);
    expect(asked).toEqual(['old#1']);
    time.advance(30_000);
    expect(asked).toEqual(['old#1', 'old#2', 'young#1']);
  });

  it('writes one control record per round, neighbours as one run', () => {
    const { time, records, half } = stage();
    for (const id of ['a', 'b', 'c']) half(id);
    time.advance(30_000);
    expect(records).toEqual([
      [
        [0, 1],
        [1, 1],
        [2, 1],
      ],
    ]);
  });

  it('writes nothing when there was nothing to ask', () => {
    const { time, records, rounds } = stage();
    time.advance(60_000);
    expect(records).toEqual([]);
    expect(rounds).toHaveLength(2);
  });

  it('does not count a round in which the group has no producer, and says how long the oldest waits', () => {
    const { time, asked, table, rounds, live, half } = stage();
    half('a', 'gone');
    time.advance(90_000);
    expect(asked).toEqual([]);
    expect(table.row(0)?.checks).toBe(0);
    expect(rounds.at(-1)).toEqual({ asked: 0, parked: 0, waiting: 1, oldestWaitingMs: 90_000 });
    live.add('gone');
    time.advance(30_000);
    expect(asked).toEqual(['a#1']);
  });

  it('does not count a question that could not be sent', () => {
    const { time, table, half, asked, rounds } = stage();
    half('a', 'unreachable');
    time.advance(30_000);
    expect(asked).toEqual(['a#1']);
    expect(table.row(0)?.checks).toBe(0);
    expect(rounds).toEqual([{ asked: 0, parked: 0, waiting: 1, oldestWaitingMs: 30_000 }]);
    time.advance(30_000);
    expect(asked).toEqual(['a#1', 'a#1']);
  });

  it.each([false, true])('asks about each of a thousand halves once per round (read from the disk: %s)', (later) => {
    const { time, asked, half, records } = stage({ perRound: 10_000, later });
    for (let n = 0; n < 1000; n++) half(`h${n}`);
    time.advance(35_000);
    expect(asked).toEqual(Array.from({ length: 1000 }, (_, n) => `h${n}#1`));
    expect(records).toHaveLength(1);
    expect(records[0]).toHaveLength(1000);
  });

  it('parks a half in the round after its last question, and asks no more', () => {
    const { time, asked, table, rounds, half } = stage({ checkMax: 3 });
    half('a');
    time.advance(90_000);
    expect(asked).toEqual(['a#1', 'a#2', 'a#3']);
    expect(table.state(0)).toBe('open');
    time.advance(30_000);
    expect(table.state(0)).toBe('parked');
    expect(rounds.at(-1)?.parked).toBe(1);
    time.advance(300_000);
    expect(asked).toHaveLength(3);
  });

  it('leaves settled halves alone', () => {
    const { time, asked, table, half } = stage();
    half('a');
    half('b');
    table.settle(0, 'rolled-back');
    time.advance(30_000);
    expect(asked).toEqual(['b#1']);
  });

  it('goes on in the next round when a round is full', () => {
    const { time, asked, half } = stage({ perRound: 2 });
    for (const id of ['a', 'b', 'c']) half(id);
    time.advance(30_000);
    expect(asked).toEqual(['a#1', 'b#1']);
  });

  it('respects the immunity that a sender asked for', () => {
    const { time, asked, table, half } = stage();
    half('a');
    table.setImmunity(0, time.now() + 45_000);
    time.advance(30_000);
    expect(asked).toEqual([]);
    time.advance(30_000);
    expect(asked).toEqual(['a#1']);
  });

  it('does nothing after it was stopped', () => {
    const { time, asked, half, checkBack } = stage();
    half('a');
    checkBack.stop();
    time.advance(300_000);
    expect(asked).toEqual([]);
    expect(time.timersWaiting).toBe(0);
  });
});
