import { describe, expect, test } from 'vitest';
import { medians } from './compare.ts';
import { isHeld, marksOf, median, type MarkResult, type SideResult } from './marks.ts';
import { slope, soakMark } from './soak.ts';
import { type Mark, type Value, type Work, WORKS } from './works.ts';

const side = (work: string, who: string, values: SideResult['values'], given: Partial<SideResult> = {}): SideResult => ({
  work,
  who,
  values,
  rounds: [values],
  way: '',
  durability: 'written',
  note: '',
  ...given,
});
const work = (name: string, value: Value, marks: readonly Mark[], from?: string): Work => ({
  name,
  title: name,
  value,
  sides: [],
  marks,
  ...(from === undefined ? {} : { from }),
});
const only = (marks: readonly MarkResult[]): MarkResult => {
  expect(marks).toHaveLength(1);
  return marks[0]!;
};

describe('marks', () => {
  test('a rate is divided by the peer’s rate of the same work', () => {
    const mark = only(
      marksOf(
        [work('batch', 'perSecond', [{ kind: 'times', against: 'kafka', mark: 1 }])],
        [side('batch', 'ours', { perSecond: 300 }), side('batch', 'kafka', { perSecond: 200 })],
      ),
    );
    expect(mark).toMatchObject({
      work: 'batch',
      against: 'kafka',
      ratio: 1.5,
      mark: 1,
      ours: 300,
      theirs: 200,
      durability: 'written',
    });
    expect(isHeld(mark)).toBe(true);
  });

  test('a mark may be measured against a side of another work', () => {
    const mark = only(
      marksOf(
        [work('promise', 'perSecond', [{ kind: 'times', against: 'ours', mark: 0.7, of: 'async-single' }])],
        [side('promise', 'ours', { perSecond: 60 }), side('async-single', 'ours', { perSecond: 100 })],
      ),
    );
    expect(mark).toMatchObject({ against: 'own async-single', ratio: 0.6 });
    expect(isHeld(mark)).toBe(false);
  });

  test('a limit is turned round: half of what is allowed gives 2', () => {
    const latency = work('latency-p99', 'p99Ms', [{ kind: 'limit', against: 'nats', times: 1.5 }], 'latency-p50');
    const mark = only(
      marksOf([latency], [side('latency-p50', 'ours', { p50Ms: 9, p99Ms: 0.75 }), side('latency-p50', 'nats', { p99Ms: 1 })]),
    );
    expect(mark).toMatchObject({ work: 'latency-p99', ratio: 2, mark: 1, ours: 0.75, theirs: 1 });
  });

  test('absolute marks are measured ÷ required when more is better, and required ÷ measured when less is', () => {
    const least = work('recovery-warm', 'gigabytesPerSecond', [{ kind: 'least', required: 1.4 }]);
    const most = work('half-memory', 'megabytes', [{ kind: 'most', required: 16 }]);
    const marks = marksOf(
      [least, most],
      [side('recovery-warm', 'ours', { gigabytesPerSecond: 0.7 }), side('half-memory', 'ours', { megabytes: 8 })],
    );
    expect(marks.map(({ ratio, mark }) => [ratio, mark])).toEqual([
      [0.5, 1],
      [2, 1],
    ]);
  });

  test('a ratio just below its mark is cut, not rounded up to it', () => {
    const mark = only(
      marksOf(
        [work('batch', 'perSecond', [{ kind: 'times', against: 'kafka', mark: 1 }])],
        [side('batch', 'ours', { perSecond: 999_999 }), side('batch', 'kafka', { perSecond: 1_000_000 })],
      ),
    );
    expect(mark.ratio).toBe(0.999);
    expect(isHeld(mark)).toBe(false);
  });

  test('a peer that was not there leaves no ratio but its reason, and the mark is not held', () => {
    const works = [work('batch', 'perSecond', [{ kind: 'times', against: 'kafka', mark: 1 }])];
    const ours = side('batch', 'ours', { perSecond: 300 });
    const missing = only(marksOf(works, [ours, side('batch', 'kafka', {}, { missing: 'no java' })]));
    expect(missing).toMatchObject({ ratio: null, theirs: null, missing: 'no java' });
    expect(isHeld(missing)).toBe(false);
    expect(only(marksOf(works, [ours]))).toMatchObject({ ratio: null, missing: 'not measured' });
  });

  test('our own failure is told as ours', () => {
    const works = [work('batch', 'perSecond', [{ kind: 'times', against: 'kafka', mark: 1 }])];
    const results = [side('batch', 'ours', {}, { missing: 'it broke' }), side('batch', 'kafka', { perSecond: 1 })];
    expect(only(marksOf(works, results))).toMatchObject({ ratio: null, ours: null, theirs: 1, missing: 'it broke' });
  });

  test('differing durabilities are both named', () => {
    const works = [work('batch', 'perSecond', [{ kind: 'times', against: 'kafka', mark: 1 }])];
    const results = [
      side('batch', 'ours', { perSecond: 1 }, { durability: 'synced' }),
      side('batch', 'kafka', { perSecond: 1 }, { durability: 'written' }),
    ];
    expect(only(marksOf(works, results)).durability).toBe('ours: synced; theirs: written');
  });
});

describe('the table of works', () => {
  test('every mark is against a side that its work, or the work it names, measures', () => {
    const measuredElsewhere = new Set(['bare-disk']);
    for (const { name, from, marks } of WORKS) {
      for (const mark of marks) {
        if (mark.kind !== 'times' && mark.kind !== 'limit') continue;
        const measured = (mark.kind === 'times' ? mark.of : undefined) ?? from ?? name;
        const sides = WORKS.find((other) => other.name === measured)?.sides.map(({ who }) => who) ?? [];
        expect(measuredElsewhere.has(mark.against) || sides.includes(mark.against), `${name} against ${mark.against}`).toBe(true);
      }
    }
  });

  test('every side states its durability and has a way to be done', () => {
    for (const { name, sides } of WORKS)
      for (const { who, durability, ways } of sides) {
        expect(durability, `${name} ${who}`).not.toBe('');
        expect(ways.length, `${name} ${who}`).toBeGreaterThan(0);
      }
  });

  test('only a row that says so sends one request per message', () => {
    const single = WORKS.filter(({ sides }) => sides.some(({ job }) => job.single === true));
    expect(single.every(({ title }) => title.includes('one request per message'))).toBe(true);
  });
});

describe('medians', () => {
  test('the middle of the rounds counts, value by value', () => {
    expect(medians([{ perSecond: 1, p50Ms: 5 }, { perSecond: 100, p50Ms: 3 }, { perSecond: 2 }])).toEqual({
      perSecond: 2,
      p50Ms: 4,
    });
    expect(median([4, 1])).toBe(2.5);
    expect(median([])).toBeNaN();
  });
});

describe('a soak', () => {
  const soaked = { minutes: 10, messagesPerSecond: 1, residentMiB: { first: 1, middle: 1, last: 1, highest: 1 }, storeGiB: 4 };

  test('the slope is that of the straight line through the samples', () => {
    expect(slope([10, 12, 14, 16])).toBeCloseTo(2);
    expect(slope([5, 5, 5])).toBe(0);
    expect(slope([7])).toBe(0);
  });

  test('growth is judged against what counts as flat; memory that shrinks is flat', () => {
    expect(soakMark({ ...soaked, slopeMiBPer10Minutes: 64 })).toMatchObject({ ratio: 0.5, mark: 1 });
    expect(isHeld(soakMark({ ...soaked, slopeMiBPer10Minutes: -20 }))).toBe(true);
  });
});
