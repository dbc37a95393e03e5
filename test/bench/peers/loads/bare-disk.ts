/**
 * What one message at a time can reach at most on this disk: bare `fs.write` and `fs.fdatasync` callbacks, one after the other, into
 * a file laid out as the log's segments are (64 MiB of zeros, written and synced before). Slices of ours and of the bare loop
 * alternate in one process, because a disk's mood changes within seconds.
 */
import { close, closeSync, fdatasync, fsyncSync, mkdtempSync, openSync, rmSync, write, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Figure, Job } from './job.ts';

const SEGMENT_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const SLICE_MS = 250;
/** What our log takes for one message of 100 bytes that is written alone: the group's header and the record. */
const OVERHEAD_BYTES = 300;

/** Alternates `slice(ms)` of ours with bare slices; the first pair only warms up. */
export async function besideBareDisk(job: Job, slice: (ms: number) => Promise<Figure>): Promise<Figure> {
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-bench-bare-'));
  const file = layOut(join(folder, 'segment'));
  const bytes = Buffer.alloc(job.bytes + OVERHEAD_BYTES, 'x');
  const ours: number[] = [];
  const bare: number[] = [];
  let at = 0;
  try {
    await slice(job.warmUpMs);
    at = (await bareSlice(file, bytes, at, SLICE_MS)).at;
    for (let left = job.windowMs; left > 0; left -= SLICE_MS) {
      ours.push((await slice(SLICE_MS)).perSecond ?? 0);
      const measured = await bareSlice(file, bytes, at, SLICE_MS);
      at = measured.at;
      bare.push(measured.perSecond);
    }
  } finally {
    close(file);
    rmSync(folder, { recursive: true, force: true });
  }
  return { perSecond: Math.round(mean(ours)), barePerSecond: Math.round(mean(bare)) };
}

function layOut(path: string): number {
  const file = openSync(path, 'w+');
  try {
    const zeros = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < SEGMENT_BYTES; at += CHUNK_BYTES) writeSync(file, zeros, 0, CHUNK_BYTES, at);
    fsyncSync(file);
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function bareSlice(file: number, bytes: Buffer, from: number, forMs: number): Promise<{ perSecond: number; at: number }> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    let at = from;
    let done = 0;
    const next = (): void => {
      const elapsed = performance.now() - began;
      if (elapsed >= forMs) return resolve({ perSecond: (done / elapsed) * 1000, at });
      if (at + bytes.length > SEGMENT_BYTES) at = 0;
      write(file, bytes, 0, bytes.length, at, (error) => {
        if (error) return reject(error);
        fdatasync(file, (syncError) => {
          if (syncError) return reject(syncError);
          at += bytes.length;
          done++;
          next();
        });
      });
    };
    next();
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
