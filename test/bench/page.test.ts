import { expect, test } from 'vitest';
import { pageOf, type Published, takeIn } from './page.ts';
import type { PeersResult } from './peers/peers.ts';
import type { RelayResult } from './relay/relay.ts';
import type { MeasuredRow } from './rows.ts';

const row: MeasuredRow = {
  work: 'produce',
  flush: 'async',
  mode: 'batch',
  header: 'binary',
  bytes: 100,
  inFlight: 1024,
  messagesPerSecond: 359_376,
  p50Ms: 2.52,
  p99Ms: 8.65,
};

const peers: PeersResult = {
  machine: {
    cpu: 'a cpu',
    cores: 2,
    memoryGiB: 24,
    system: 'Linux 6',
    fileSystem: 'ext4 on disk',
    node: 'v20',
    date: '2026-01-02',
  },
  versions: { Redis: '7.0.15' },
  settings: { seconds: 2, warmUpSeconds: 1.5, rounds: 3 },
  tookSeconds: 600,
  results: [
    {
      work: 'async-single',
      who: 'ours',
      values: { perSecond: 1_234_567, p50Ms: 1, clientCpuUs: 0.9, serverCpuUs: 1.1 },
      rounds: [{ perSecond: 1 }, { perSecond: 2_000_000 }],
      way: 'window 1024',
      durability: 'written | synced later',
      note: '',
    },
    {
      work: 'async-single',
      who: 'nats',
      values: {},
      rounds: [],
      way: '',
      durability: 'written',
      note: '',
      missing: 'nats-server is not installed',
    },
  ],
  marks: [
    {
      work: 'async-single',
      ratio: 4.2,
      mark: 4,
      against: 'redis-everysec',
      ours: 1_234_567,
      theirs: 293_944,
      durability: 'written',
    },
    { work: 'kib', ratio: 1.5, mark: 1.6, against: 'redis-everysec', ours: 3, theirs: 2, durability: 'written' },
    {
      work: 'async-single',
      ratio: null,
      mark: 15,
      against: 'nats',
      ours: 1,
      theirs: null,
      durability: 'written',
      missing: 'nats-server is not installed',
    },
  ],
};

const lineWith = (page: string, ...texts: string[]): string =>
  page.split('\n').find((line) => texts.every((text) => line.includes(text))) ?? '';

test('a result takes the place of the older one of its kind and leaves the others', () => {
  const before: Published = { produce: [row], transfer: [{ ...row, work: 'transfer' }] };
  const after = takeIn(before, `> a line of npm\n${JSON.stringify({ rows: [{ ...row, messagesPerSecond: 7 }] })}\n`);
  expect(after.produce?.[0]?.messagesPerSecond).toBe(7);
  expect(after.transfer).toBe(before.transfer);
  expect(takeIn(after, JSON.stringify(peers)).peers?.marks).toHaveLength(3);
});

test('a file without a result is refused', () => {
  expect(() => takeIn({}, '{"rows":[]}')).toThrow('neither rows nor marks');
});

test('the first line of the page says what it is made from', () => {
  expect(pageOf({}).split('\n')[0]).toContain('docs/benchmarks.json');
});

test('a mark shows its figures, its ratio and whether it is held', () => {
  const page = pageOf({ peers });
  expect(lineWith(page, '| async-single', 'redis-everysec')).toContain('1,234,567/s | 293,944/s | 4.2 | 4 | held');
  expect(lineWith(page, '| kib')).toContain('**not held**');
  expect(page).toContain('Of 3 marks 1 are held, 1 could not be judged');
});

test('what is missing is shown as missing, with its reason, and never with a figure', () => {
  const page = pageOf({ peers });
  expect(lineWith(page, '| async-single', '| nats |', '| 15 |')).toContain('| – | – | 15 | missing');
  expect(page).toContain('Missing: nats: nats-server is not installed.');
});

test('a rate stands with the processor time it cost, and without the latencies of its samples', () => {
  expect(lineWith(pageOf({ peers }), '| async-single | ours')).toContain('| 1,234,567/s | 1/s, 2,000,000/s | 0.9 + 1.1 |');
});

test('text that would break a table cell does not', () => {
  expect(lineWith(pageOf({ peers }), '| async-single | ours')).toContain('written \\| synced later');
});

test('rows of produce and transfer become their tables', () => {
  const page = pageOf({ produce: [row], transfer: [{ ...row, work: 'transfer', messagesPerSecond: 1473 }] });
  expect(lineWith(page, '359,376')).toBe('| async | batch | binary | 100 B | 1024 | 359,376 | 2.52 | 8.65 |');
  expect(lineWith(page, '1,473')).toBe('| async | 1024 | 1,473 | 2.52 | 8.65 |');
});

test('a run of the relay has its own section, and leaves the others', () => {
  const relay: RelayResult = {
    kind: 'relay',
    machine: peers.machine,
    settings: { rounds: 3, rows: 100_000 },
    tookSeconds: 600,
    results: [
      { work: 'wal', who: 'ours', value: 112.5, unit: 'B', rounds: [112.5, 113], durability: 'synced', note: 'without images' },
    ],
    marks: [{ work: 'wal', ratio: 1.33, mark: 1, against: 'at most 150 B', ours: 112.5, theirs: 150, durability: 'synced' }],
  };
  const published = takeIn({ peers }, JSON.stringify(relay));
  expect(published.peers).toBe(peers);
  const page = pageOf(published);
  expect(lineWith(page, '| wal', 'at most 150 B')).toBe('| wal | at most 150 B | 112.5 | 150 | 1.33 | 1 | held | synced |');
  expect(lineWith(page, '| wal | ours')).toContain('| 112.5 | B | 112.5, 113 | synced | without images |');
  expect(page).toContain('Of 1 marks 1 are held.');
});
