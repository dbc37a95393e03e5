import { run, type Disk, type DiskFile } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';
import { expect, it } from 'vitest';
import { Segments } from '../../src/store/segments.ts';

const MIB = 1024 * 1024;

/** A disk that remembers what was done to one file. */
function notedDisk(allocates?: boolean): { disk: Disk; log: string[]; first: number[] } {
  const log: string[] = [];
  const first: number[] = [];
  const file: Partial<DiskFile> = {
    write: (chunks, position, done) => {
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      first.push(chunks[0]![0]!);
      log.push(`write ${position / MIB}+${bytes / MIB}`);
      done(undefined);
    },
    sync: (done) => {
      log.push('sync');
      done(undefined);
    },
  };
  const disk: Partial<Disk> = {
    ...(allocates !== undefined && {
      allocate: (path, bytes, done) => {
        log.push(`allocate ${path} ${bytes / MIB}`);
        done(allocates);
      },
    }),
    open: (_path, _mode, done) => done(undefined, file as DiskFile),
    rename: (_from, _to, done) => done(undefined),
    syncFolder: (_path, done) => done(undefined),
  };
  return { disk: disk as Disk, log, first };
}

it('a file of the log is allocated and not written where the disk can do that', () => {
  const { disk, log, first } = notedDisk(true);
  const segments = new Segments(disk, new ManualTime(), 21 * MIB, MIB, () => {});
  run(
    () => segments.prepare(0),
    (error) => log.push(error === undefined ? 'made' : error.message),
  );
  expect(log).toEqual(['allocate log/preparing 21', `write 0+${4096 / MIB}`, 'sync', 'made']);
  expect(first[0]).not.toBe(0);
});

it('a file of the log that cannot be allocated is written', () => {
  const { disk, log } = notedDisk(false);
  const segments = new Segments(disk, new ManualTime(), 5 * MIB, MIB, () => {});
  run(
    () => segments.prepare(0),
    (error) => log.push(error === undefined ? 'made' : error.message),
  );
  expect(log).toEqual(['allocate log/preparing 5', 'write 0+4', 'write 4+1', 'sync', 'made']);
});

it('a file of the log is made in few writes, for each takes a turn of the loop, and synced every 8 MiB', () => {
  const { disk, log, first } = notedDisk();
  const segments = new Segments(disk, new ManualTime(), 21 * MIB, MIB, () => {});
  run(
    () => segments.prepare(0),
    (error) => log.push(error === undefined ? 'made' : error.message),
  );
  expect(log).toEqual([
    'write 0+4',
    'write 4+4',
    'sync',
    'write 8+4',
    'write 12+4',
    'sync',
    'write 16+4',
    'write 20+1',
    'sync',
    'made',
  ]);
  expect(first[0]).not.toBe(0);
  expect(first.slice(1).every((byte) => byte === 0)).toBe(true);
});
