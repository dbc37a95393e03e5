import { attempt, call, type Disk, type DiskFile, type Steps } from '@tallystick/base';
import { troubleAt, type DiskTrouble } from './disk-trouble.ts';
import { Segment } from './segment.ts';
import { baseOfName, decodeSegmentHeader, SEGMENT_ACTIVE, SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment-header.ts';
import { RESERVE, TEMPORARY } from './segments.ts';
import { StoreError } from './store-types.ts';

/** A segment file as found, before anything is believed. */
export interface FoundSegment {
  readonly segment: Segment;
  /** Undefined when the header is damaged; then `size` is the file's. */
  readonly header: SegmentHeader | undefined;
  readonly headerFault: string;
  readonly fileBytes: number;
}

export interface FoundLog {
  readonly hasReserve: boolean;
  readonly notes: readonly string[];
}

/**
 * Lists and opens what is in `log/`: refuses unknown formats and foreign stores (R0) and gaps or overlaps (R6), removes what a crash
 * left half made. A damaged header is reported, not judged. Files that are open are in `segments`, also when the steps end with an error.
 */
export function* openLogFolder(disk: Disk, reserveBytes: number, segments: FoundSegment[]): Steps<FoundLog> {
  const names = yield* call<readonly string[]>((done) => disk.list('log', done));
  const notes: string[] = [];
  let hasReserve = false;
  for (const name of names) {
    const base = baseOfName(name);
    if (name === TEMPORARY) yield* call((done) => disk.remove(`log/${name}`, done));
    else if (name === RESERVE) hasReserve = yield* keepReserve(disk, reserveBytes);
    else if (base === undefined) notes.push(`log/${name} is not ours and was ignored`);
    else segments.push(yield* openSegment(disk, base));
  }
  for (let n = 1; n < segments.length; n++) {
    const before = segments[n - 1]!.segment;
    const gap = segments[n]!.segment.base - before.end;
    if (gap !== 0 && segments[n - 1]!.header !== undefined) {
      throw new StoreError(
        'refused',
        `R6: ${segments[n]!.segment.path} begins ${gap > 0 ? `${gap} bytes after` : `${-gap} bytes before`} the end of ${before.path}; restore the missing segment files`,
        'R6',
      );
    }
  }
  return { hasReserve, notes };
}

function* openSegment(disk: Disk, base: number): Steps<FoundSegment> {
  const path = new Segment(base, 0, undefined).path;
  const file = yield* call<DiskFile>((done) => disk.open(path, 'open', done));
  try {
    return yield* readHead(file, base, path);
  } catch (error) {
    yield* attempt((done) => file.close(done));
    throw error instanceof StoreError ? error : troubleAt(path, error as DiskTrouble);
  }
}

function* readHead(file: DiskFile, base: number, path: string): Steps<FoundSegment> {
  const fileBytes = yield* call<number>((done) => file.size(done));
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  if (fileBytes > 0) yield* call<number>((done) => file.read(bytes, 0, done));
  const header = decodeSegmentHeader(bytes);
  if (typeof header === 'string') {
    if (header.startsWith('unknown-format')) throw new StoreError('refused', `R0: ${path}: ${header}`, 'R0');
    return { segment: new Segment(base, fileBytes, file), header: undefined, headerFault: header, fileBytes };
  }
  if (header.base !== base)
    throw new StoreError('refused', `R6: ${path} says that it begins at ${header.base}; it was renamed or copied`, 'R6');
  const segment = new Segment(base, header.size, file);
  segment.isActive = header.state === SEGMENT_ACTIVE;
  return { segment, header, headerFault: '', fileBytes };
}

function* keepReserve(disk: Disk, reserveBytes: number): Steps<boolean> {
  const file = yield* call<DiskFile>((done) => disk.open(`log/${RESERVE}`, 'open', done));
  const size = yield* call<number>((done) => file.size(done));
  yield* attempt((done) => file.close(done));
  if (size !== reserveBytes) yield* call((done) => disk.remove(`log/${RESERVE}`, done));
  return size === reserveBytes;
}
