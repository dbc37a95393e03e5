import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeDisk, systemTimers } from '@tallystick/base/node';
import type { Disk, DiskFile } from '@tallystick/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lossyDisk } from '../../src/demo/lossy-disk.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lossy-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (disk: Disk, mode: 'open' | 'create') =>
  new Promise<DiskFile>((resolve, reject) =>
    disk.open('f', mode, (error, file) => (error === undefined ? resolve(file) : reject(new Error(error.message)))),
  );
const write = (file: DiskFile, text: string, at: number) =>
  new Promise<void>((resolve) => file.write([Buffer.from(text)], at, () => resolve()));
const sync = (file: DiskFile) => new Promise<void>((resolve) => file.sync(() => resolve()));
const read = (file: DiskFile, bytes: number) =>
  new Promise<string>((resolve) => {
    const into = Buffer.alloc(bytes);
    file.read(into, 0, (_, count) => resolve(into.subarray(0, count).toString('latin1')));
  });
const size = (file: DiskFile) => new Promise<number>((resolve) => file.size((_, bytes) => resolve(bytes)));

/** What a machine finds after the power came back: the real files alone. */
const afterPowerCut = async (bytes: number) => read(await open(nodeDisk(folder), 'open'), bytes);

describe('the lossy disk', () => {
  it('reads back what was written, synced or not, and forgets at a power cut what was not synced', async () => {
    const file = await open(
      lossyDisk(nodeDisk(folder), systemTimers(), () => false),
      'create',
    );
    await write(file, 'kept', 0);
    await sync(file);
    await write(file, 'lost', 4);
    await write(file, 'K', 0);
    expect(await read(file, 8)).toBe('Keptlost');
    expect(await size(file)).toBe(8);
    expect(await afterPowerCut(8)).toBe('kept');
  });

  it('shares unsynced writes between handles of one file', async () => {
    const disk = lossyDisk(nodeDisk(folder), systemTimers(), () => false);
    const first = await open(disk, 'create');
    await write(first, 'abc', 0);
    const second = await open(disk, 'open');
    expect(await read(second, 3)).toBe('abc');
  });

  it('cuts unsynced writes when the file is truncated', async () => {
    const file = await open(
      lossyDisk(nodeDisk(folder), systemTimers(), () => false),
      'create',
    );
    await write(file, 'abcdef', 0);
    await new Promise<void>((resolve) => file.truncate(2, () => resolve()));
    await sync(file);
    expect(await afterPowerCut(6)).toBe('ab');
  });

  it('with the defect answers a sync before anything is on the disk', async () => {
    const file = await open(
      lossyDisk(nodeDisk(folder), systemTimers(), () => true),
      'create',
    );
    await write(file, 'gone', 0);
    await sync(file);
    expect(await read(file, 4)).toBe('gone');
    expect(await afterPowerCut(4)).toBe('');
  });
});
