import { run, type DiskError, type DiskFile } from '@tallystick/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogWindow, ScanRing } from '../../src/store/log-window.ts';

const PIECE = 4096;
const AHEAD = 3;

type ReadDone = (error: DiskError | undefined, bytesRead: number) => void;

/** A file whose reads end when the test says so. Bytes after `written` are not there. */
class HeldFile {
  readonly path = 'log/held';
  readonly content: Buffer;
  readonly written: number;
  readonly held: { readonly into: Uint8Array; readonly position: number; readonly done: ReadDone }[] = [];
  /** Positions of all reads, in the order in which they were begun. */
  readonly begun: number[] = [];
  mostHeld = 0;

  constructor(bytes: number, written = bytes) {
    this.content = Buffer.alloc(bytes);
    this.written = written;
    for (let at = 0; at < written; at++) this.content[at] = (Math.imul(at + 1, 0x9e3779b1) >>> 24) | 1;
  }

  get file(): DiskFile {
    return this as unknown as DiskFile;
  }

  read(into: Uint8Array, position: number, done: ReadDone): void {
    this.held.push({ into, position, done });
    this.begun.push(position);
    this.mostHeld = Math.max(this.mostHeld, this.held.length);
  }

  /** Ends one of the reads that are held. */
  end(index = 0, code?: string): void {
    const { into, position, done } = this.held.splice(index, 1)[0]!;
    if (code !== undefined) return done({ code, message: `${code} at ${position}` }, 0);
    const there = this.content.subarray(position, Math.min(this.written, position + into.length));
    // What a read leaves behind its bytes is rubbish.
    into.fill(0xee);
    into.set(there);
    done(undefined, there.length);
  }
}

interface Shown {
  isOver: boolean;
  error: (Error & { code?: string }) | undefined;
}

function show(window: LogWindow, offset: number, count: number): Shown {
  const shown: Shown = { isOver: false, error: undefined };
  run(
    () => window.show(offset, count),
    (error) => {
      shown.isOver = true;
      shown.error = error;
    },
  );
  return shown;
}

function rest(window: LogWindow): Shown {
  const rested: Shown = { isOver: false, error: undefined };
  run(
    () => window.rest(),
    (error) => {
      rested.isOver = true;
      rested.error = error;
    },
  );
  return rested;
}

function seen(window: LogWindow, offset: number, count: number): Buffer {
  expect(window.holds(offset, count)).toBe(true);
  return window.bytes.subarray(offset - window.start, offset - window.start + count);
}

describe('the pieces of a segment that is scanned', () => {
  it('are three reads on their way, and as many ahead of what is looked at, never more', () => {
    const disk = new HeldFile(20 * PIECE);
    const window = new LogWindow(disk.file, disk.content.length, new ScanRing(0, AHEAD));
    const first = show(window, 0, 100);
    expect(disk.begun).toEqual([0, PIECE, 2 * PIECE]);
    expect(first.isOver).toBe(false);
    disk.end();
    expect(first).toEqual({ isOver: true, error: undefined });
    // The piece that is looked at is none of those ahead of it.
    expect(disk.begun.at(-1)).toBe(AHEAD * PIECE);
    while (disk.held.length > 0) disk.end();
    for (let offset = 0; offset < 20 * PIECE; offset += 1000) {
      const next = show(window, offset, Math.min(1000, 20 * PIECE - offset));
      while (!next.isOver) disk.end();
      expect(disk.begun.length).toBeLessThanOrEqual(Math.floor(offset / PIECE) + 2 + AHEAD);
    }
    expect(disk.mostHeld).toBe(AHEAD);
    expect(disk.begun).toEqual(Array.from({ length: 20 }, (_, n) => n * PIECE));
  });

  it('are taken in the order of the file, whatever order their reads end in', () => {
    const disk = new HeldFile(8 * PIECE);
    const window = new LogWindow(disk.file, disk.content.length, new ScanRing(0, AHEAD));
    const first = show(window, 0, PIECE + 10);
    disk.end(2);
    disk.end(1);
    expect(first.isOver).toBe(false);
    disk.end(0);
    expect(first.isOver).toBe(true);
    expect(seen(window, 0, PIECE + 10)).toEqual(disk.content.subarray(0, PIECE + 10));
    expect(show(window, 2 * PIECE, PIECE).isOver).toBe(true);
    expect(seen(window, 2 * PIECE, PIECE)).toEqual(disk.content.subarray(2 * PIECE, 3 * PIECE));
  });

  it('show the bytes of the file, and zeros behind it, however groups lie and reads end', () => {
    const step = fc.record({
      skip: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 3 * PIECE })),
      count: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 15 * PIECE })),
      ends: fc.array(fc.nat(), { minLength: 1, maxLength: 8 }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 * PIECE }),
        fc.integer({ min: 0, max: 60 * PIECE }),
        fc.array(step, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: AHEAD }),
        (size, written, steps, ahead) => {
          const disk = new HeldFile(size, Math.min(size, written));
          const window = new LogWindow(disk.file, size, new ScanRing(0, ahead));
          let offset = 0;
          for (const { skip, count, ends } of steps) {
            offset += skip;
            if (offset >= size) break;
            const shown = show(window, offset, count);
            for (let n = 0; !shown.isOver; n++) disk.end(ends[n % ends.length]! % disk.held.length);
            expect(shown.error).toBeUndefined();
            const there = Math.min(count, size - offset);
            expect(seen(window, offset, there).equals(disk.content.subarray(offset, offset + there))).toBe(true);
            // Some are late.
            for (const end of ends.slice(1)) if (disk.held.length > 0) disk.end(end % disk.held.length);
            expect(seen(window, offset, there).equals(disk.content.subarray(offset, offset + there))).toBe(true);
          }
          expect(disk.mostHeld).toBeLessThanOrEqual(ahead);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('a read ahead that fails is met where its bytes are wanted, not before', () => {
    const disk = new HeldFile(8 * PIECE);
    const window = new LogWindow(disk.file, disk.content.length, new ScanRing(0, AHEAD));
    const first = show(window, 0, PIECE);
    disk.end(2, 'EIO');
    disk.end(0);
    disk.end(0);
    expect(first).toEqual({ isOver: true, error: undefined });
    expect(show(window, PIECE, PIECE)).toEqual({ isOver: true, error: undefined });
    const third = show(window, 2 * PIECE, 1);
    expect(third.error).toMatchObject({ code: 'EIO', message: `log/held at byte ${2 * PIECE}: EIO at ${2 * PIECE}` });
    const rested = rest(window);
    while (disk.held.length > 0) disk.end(0, 'EIO');
    expect(rested).toEqual({ isOver: true, error: undefined });
  });

  it('have all come when it rests, those that nobody wanted too', () => {
    const disk = new HeldFile(8 * PIECE);
    const window = new LogWindow(disk.file, disk.content.length, new ScanRing(0, AHEAD));
    show(window, 0, 1);
    disk.end(0);
    const rested = rest(window);
    expect(disk.held).toHaveLength(AHEAD);
    for (let left = AHEAD; left > 0; left--) {
      expect(rested.isOver).toBe(false);
      disk.end(left - 1);
    }
    expect(rested).toEqual({ isOver: true, error: undefined });
  });

  it('are not overtaken by a jump: its reads begin when the others have ended', () => {
    const disk = new HeldFile(40 * PIECE);
    const window = new LogWindow(disk.file, disk.content.length, new ScanRing(0, AHEAD));
    show(window, 0, 1);
    disk.end(0);
    const far = show(window, 30 * PIECE, 2 * PIECE);
    expect(disk.begun).toEqual([0, 1, 2, 3].map((n) => n * PIECE));
    while (!far.isOver) disk.end(disk.held.length - 1);
    expect(disk.begun[4]).toBe(30 * PIECE);
    expect(seen(window, 30 * PIECE, 2 * PIECE)).toEqual(disk.content.subarray(30 * PIECE, 32 * PIECE));
  });
});
