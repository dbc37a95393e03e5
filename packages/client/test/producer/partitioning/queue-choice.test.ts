import { describe, expect, it } from 'vitest';
import type { PartitionerName } from '../../../src/producer/partitioning/partitioner.ts';
import { type ChoiceLane, type ChoiceRules, QueueChoice } from '../../../src/producer/partitioning/queue-choice.ts';

interface Batch {
  readonly createdMs: number;
  end: number;
  closed: boolean;
}

/** A lane whose batches a test fills and empties. */
class TestLane implements ChoiceLane {
  readonly name: string;
  readonly brokerName: string;
  readonly batches: Batch[] = [];

  constructor(name: string, brokerName = 'a') {
    this.name = name;
    this.brokerName = brokerName;
  }

  get open(): Batch | undefined {
    const last = this.batches.at(-1);
    return last === undefined || last.closed ? undefined : last;
  }
}

const RULES: ChoiceRules = { mode: 'sticky', adaptive: true, batchSizeBytes: 100, availabilityTimeoutMs: 0 };

class Play {
  readonly lanes: TestLane[];
  readonly around = {
    round: 0,
    nowMs: 0,
    avoided: new Set<string>(),
    isAvoided: (brokerName: string): boolean => this.around.avoided.has(brokerName),
    random: 0,
    u32: (): number => this.around.random++,
  };
  readonly choice: QueueChoice<TestLane>;

  constructor(rules: Partial<ChoiceRules>, ...lanes: TestLane[]) {
    this.lanes = lanes;
    this.choice = new QueueChoice({ ...RULES, ...rules }, this.around);
  }

  /** Appends a record of `bytes`, into a new batch when it does not fit; the lane's name. */
  append(bytes: number): string {
    const lane = this.choice.next(this.lanes, bytes)!;
    if (lane.open !== undefined && lane.open.end + bytes > 100) lane.open.closed = true;
    if (lane.open === undefined) lane.batches.push({ createdMs: this.around.nowMs, end: 0, closed: false });
    lane.open!.end += bytes;
    this.choice.joined(lane, bytes);
    return lane.name;
  }

  appends(count: number, bytes: number): string {
    return Array.from({ length: count }, () => this.append(bytes)).join('');
  }

  /** Everything goes out. */
  drain(): void {
    this.around.round++;
    for (const lane of this.lanes) lane.batches.length = 0;
  }
}

const three = (): TestLane[] => [new TestLane('0'), new TestLane('1'), new TestLane('2')];

/** Letters renamed in the order of their first use: where it starts does not matter. */
function pattern(names: string): string {
  const seen = [...new Set(names)];
  return names
    .split('')
    .map((name) => 'xyz'[seen.indexOf(name)])
    .join('');
}

describe('the queue for a record without a key', () => {
  it('sticky: stays until the batch is on its way, then it is the next in order', () => {
    const play = new Play({}, ...three());
    const rounds = [1, 2, 3, 4].map(() => {
      const names = play.appends(3, 10);
      play.drain();
      return names;
    });
    expect(pattern(rounds.join(''))).toBe('xxxyyyzzzxxx');
  });

  it('sticky: a record that does not fit any more goes to the next queue, and the full batch stays behind', () => {
    const play = new Play({}, ...three());
    expect(pattern(play.appends(6, 40))).toBe('xxyyzz');
    expect(play.lanes.map(({ batches }) => batches.length)).toEqual([1, 1, 1]);
  });

  it('uniform: stays over many small batches until batchSizeBytes have gone to it', () => {
    const play = new Play({ mode: 'uniform' }, ...three());
    const rounds = Array.from({ length: 12 }, () => {
      const names = play.appends(1, 25);
      play.drain();
      return names;
    });
    expect(pattern(rounds.join(''))).toBe('xxxxyyyyzzzz');
  });

  it('uniform: does not leave a batch behind that has room', () => {
    const play = new Play({ mode: 'uniform', adaptive: false }, ...three());
    // Three fit in a batch: 90 bytes are not enough to leave, and the second batch is complete at 180.
    expect(pattern(play.appends(14, 30))).toBe('xxxxxxyyyyyyzz');
  });

  it('uniform: leaves at twice the size whatever room there is, for records that shrink', () => {
    const play = new Play({ mode: 'uniform' }, ...three());
    let names = '';
    for (let n = 0; n < 8; n++) {
      const lane = play.choice.next(play.lanes, 50)!;
      if (lane.open === undefined) lane.batches.push({ createdMs: 0, end: 0, closed: false });
      lane.open!.end += 5;
      play.choice.joined(lane, 50);
      names += lane.name;
    }
    expect(pattern(names)).toBe('xxxxyyyy');
  });

  it('uniform: works with one queue only', () => {
    const play = new Play({ mode: 'uniform' }, new TestLane('0'));
    expect(play.appends(9, 50)).toBe('000000000');
  });

  it('uniform: is uniform whatever the records’ sizes', () => {
    const play = new Play({ mode: 'uniform' }, ...three());
    const bytes = new Map<string, number>();
    for (let n = 0; n < 30_000; n++) {
      const size = 1 + ((n * 7919) % 60);
      const name = play.append(size);
      bytes.set(name, (bytes.get(name) ?? 0) + size);
      if (n % 5 === 4) play.drain();
    }
    const shares = [...bytes.values()];
    expect(Math.max(...shares) / Math.min(...shares)).toBeLessThan(1.05);
  });

  it('uniform: a batch that lingers is filled instead of begun in fragments', () => {
    const play = new Play({ mode: 'uniform' }, ...three());
    const sizes: number[] = [];
    for (let n = 0; n < 60; n++) {
      play.append(22);
      if (n % 3 !== 2) continue;
      for (const lane of play.lanes) for (const { end } of lane.batches) sizes.push(end);
      play.drain();
    }
    expect(Math.min(...sizes)).toBeGreaterThan(50);
  });

  it('round-robin: is another one for every record', () => {
    const play = new Play({ mode: 'round-robin' }, ...three());
    expect(pattern(play.appends(7, 10))).toBe('xyzxyzx');
  });

  it.each(['sticky', 'uniform', 'round-robin'] as PartitionerName[])('%s: leaves out a broker that is to be avoided', (mode) => {
    const play = new Play({ mode }, new TestLane('0', 'a'), new TestLane('1', 'b'), new TestLane('2', 'c'));
    play.around.avoided.add('b');
    play.around.round++;
    let names = '';
    for (let n = 0; n < 30; n++) {
      names += play.append(60);
      play.drain();
    }
    expect([...new Set(names)].toSorted()).toEqual(['0', '2']);
  });

  it.each(['sticky', 'uniform', 'round-robin'] as PartitionerName[])('%s: leaves none out when all would be', (mode) => {
    const play = new Play({ mode }, new TestLane('0', 'a'), new TestLane('1', 'b'));
    play.around.avoided.add('a').add('b');
    let names = '';
    for (let n = 0; n < 8; n++) {
      names += play.append(100);
      play.drain();
    }
    expect([...new Set(names)].toSorted()).toEqual(['0', '1']);
  });

  it('adaptive: prefers queues with less in front of them, one plus the longest minus its own', () => {
    const play = new Play({}, ...three());
    const waiting = [0, 3, 1];
    const counts = new Map<string, number>();
    for (let n = 0; n < 800; n++) {
      play.drain();
      play.lanes.forEach((lane, at) => {
        for (let k = 0; k < waiting[at]!; k++) lane.batches.push({ createdMs: 0, end: 100, closed: true });
      });
      const name = play.choice.next(play.lanes, 10)!.name;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      play.choice.joined(play.lanes[Number(name)]!, 10);
    }
    expect(['0', '1', '2'].map((name) => counts.get(name))).toEqual([400, 100, 300]);
  });

  it('adaptive: counts once per round, not the batches that this very round piles up', () => {
    const play = new Play({}, ...three());
    play.drain();
    expect(pattern(play.appends(9, 100))).toBe('xyzxyzxyz');
  });

  it('leaves out a queue whose oldest batch has waited longer than the availability timeout', () => {
    const play = new Play({ availabilityTimeoutMs: 50 }, ...three());
    play.lanes[1]!.batches.push({ createdMs: 0, end: 10, closed: true });
    play.around.nowMs = 51;
    let names = '';
    for (let n = 0; n < 20; n++) {
      names += play.append(100);
      for (const lane of [play.lanes[0]!, play.lanes[2]!]) lane.batches.length = 0;
      play.around.round++;
    }
    expect(names).not.toContain('1');
  });

  it.each(['sticky', 'uniform', 'round-robin'] as PartitionerName[])(
    '%s: a record that finds no memory uses up no turn',
    (mode) => {
      const rules = { mode, adaptive: false };
      const [plain, tried] = [new Play(rules, ...three()), new Play(rules, ...three())];
      const names = Array.from({ length: 12 }, () => {
        for (let tries = 0; tries < 4; tries++) {
          tried.choice.next(tried.lanes, 60);
          tried.choice.notJoined();
        }
        return [plain.append(60), tried.append(60)];
      });
      expect(names.map(([, name]) => name)).toEqual(names.map(([name]) => name));
    },
  );

  it('is undefined for a topic without queues', () => {
    expect(new Play({}).choice.next([], 1)).toBeUndefined();
  });

  it('elsewhere is on another broker, a good one if there is one', () => {
    const lanes = [new TestLane('0', 'a'), new TestLane('1', 'a'), new TestLane('2', 'b'), new TestLane('3', 'c')];
    const play = new Play({}, ...lanes);
    play.around.avoided.add('b');
    const names = [1, 2, 3, 4].map(() => play.choice.elsewhere(lanes, lanes[0]!)!.name);
    expect(new Set(names)).toEqual(new Set(['3']));
    expect(play.choice.elsewhere(lanes.slice(0, 2), lanes[0]!)).toBeUndefined();
  });
});
