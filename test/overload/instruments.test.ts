import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DiskError, DiskFile } from '@tallystick/base';
import { nodeDisk } from '@tallystick/base/node';
import { Output, BINARY_HEADER, RESPONSE_FLAG, writeFrame } from '@tallystick/remoting';
import { ANSWERS, answerOf, FrameHeads, isAnswer, opaqueOf } from './frame-heads.ts';
import { Histogram } from './histogram.ts';
import { FAST_DISK, SlowDisk, type DiskMood } from './slow-disk.ts';

const REMARKS: readonly (readonly [number, string | undefined])[] = [
  [0, undefined],
  [2, '[REJECTREQUEST]system busy, start flow control for a while'],
  [2, '[OVERLOAD]system busy, start flow control for a while'],
  [2, '[PC_SYNCHRONIZED]broker busy, start flow control for a while'],
  [2, '[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: 1ms, size of queue: 2'],
  [2, '[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: 1ms, size of queue: 2'],
  [2, 'busy'],
  [10, undefined],
  [13, 'illegal'],
];

test('every kind of answer is told apart, wherever the stream is cut', () => {
  const out = new Output();
  REMARKS.forEach(([code, remark], opaque) =>
    writeFrame(
      out,
      { kind: BINARY_HEADER, code, flag: RESPONSE_FLAG, opaque, language: 0, version: 1, remark },
      { some: 'field' },
      Buffer.alloc(opaque * 7),
    ),
  );
  const pieces: Buffer[] = [];
  out.take((chunk) => pieces.push(chunk));
  const stream = Buffer.concat(pieces);
  for (let step = 1; step < 200; step++) {
    const seen: string[] = [];
    const heads = new FrameHeads((bytes, at, headBytes) => {
      expect(isAnswer(bytes, at)).toBe(true);
      seen[opaqueOf(bytes, at)] = ANSWERS[answerOf(bytes, at, headBytes)]!;
    });
    for (let at = 0; at < stream.length; at += step) heads.read(stream.subarray(at, at + step));
    expect(seen).toEqual(ANSWERS);
  }
});

test('a histogram answers quantiles within its two per cent', () => {
  const histogram = new Histogram();
  for (let ms = 1; ms <= 1000; ms++) histogram.add(ms);
  expect(histogram.at(0.5)).toBeGreaterThan(485);
  expect(histogram.at(0.5)).toBeLessThan(515);
  expect(histogram.summary()).toMatchObject({ count: 1000, maxMs: 1000 });
});

async function logFile(mood: Partial<DiskMood>): Promise<{ disk: SlowDisk; file: DiskFile }> {
  const disk = new SlowDisk(nodeDisk(mkdtempSync(join(tmpdir(), 'tallystick-slow-disk-'))), { ...FAST_DISK, ...mood });
  await new Promise<void>((resolve) => disk.makeFolder('log', () => resolve()));
  const file = await new Promise<DiskFile>((resolve) => disk.open('log/preparing', 'create', (_error, made) => resolve(made)));
  await write(file, 1000, 0);
  expect(disk.bytes).toBe(0);
  await new Promise<void>((resolve) => disk.rename('log/preparing', 'log/0', () => resolve()));
  return { disk, file };
}

function write(file: DiskFile, bytes: number, position: number): Promise<DiskError | undefined> {
  return new Promise((resolve) => file.write([Buffer.alloc(bytes)], position, resolve));
}

test('a device takes no more than its capacity, whatever its cache holds', async () => {
  const { disk, file } = await logFile({ bytesPerSecond: 100_000, cacheBytes: 1000 });
  const startMs = performance.now();
  for (let n = 0; n < 10; n++) await write(file, 1000, n * 1000);
  expect(disk.bytes).toBe(10_000);
  expect(performance.now() - startMs).toBeGreaterThan(85);
});

test('held writes end when the disk goes on, in their order; a failing one fails once', async () => {
  const { disk, file } = await logFile({ held: 'writes' });
  const ended: number[] = [];
  const both = [write(file, 10, 0).then(() => ended.push(1)), write(file, 10, 10).then(() => ended.push(2))];
  await new Promise<void>((resolve) => file.sync(() => resolve()));
  expect(ended).toEqual([]);
  disk.change({ held: 'nothing' });
  await Promise.all(both);
  expect(ended).toEqual([1, 2]);
  disk.change({ failing: 'write' });
  expect(await write(file, 10, 20)).toMatchObject({ code: 'EIO' });
  expect(await write(file, 10, 20)).toBeUndefined();
});

test('what the real disk can do, the slow one can: a store that found no `allocate` would fill its files with zeros', async () => {
  const real = nodeDisk(mkdtempSync(join(tmpdir(), 'tallystick-slow-disk-')));
  const asked: unknown[] = [];
  real.allocate = (path, bytes, done) => {
    asked.push(path, bytes);
    done(true);
  };
  const disk = new SlowDisk(real, FAST_DISK);
  // How full the machine's disk is, is not the test's matter.
  for (const member of membersOf(real)) if (member !== 'space') expect(disk).toHaveProperty(member);
  expect(await new Promise((resolve) => disk.allocate('log/preparing', 4096, resolve))).toBe(true);
  expect(asked).toEqual(['log/preparing', 4096]);
});

function membersOf(thing: object): string[] {
  const names = [thing, Object.getPrototypeOf(thing) as object].flatMap((holder) => Object.getOwnPropertyNames(holder));
  return names.filter((name) => typeof thing[name as keyof typeof thing] === 'function' && name !== 'constructor');
}
