import { call, type Disk, type DiskFile, type Steps } from '@tallystick/base';
import { baseName } from './segment-header.ts';

/**
 * `quarantine/`: what was in the log's way and may not be thrown away. A person looks at it; nothing here reads it. All that is put there is
 * durable when the steps end.
 */

/** Moves the file of the segment at `base`, which nobody has open; what it is called now. */
export function* moveSegmentAside(disk: Disk, path: string, base: number): Steps<string> {
  const target = yield* freeName(disk, `${baseName(base)}.segment`);
  yield* call((done) => disk.rename(path, target, done));
  yield* call((done) => disk.syncFolder('quarantine', done));
  return target;
}

/** Copies bytes of a file, which stays as it is; `position`: what address in the log they have. */
export function* copyAside(disk: Disk, from: DiskFile, start: number, end: number, position: number): Steps<void> {
  const target = yield* freeName(disk, `${baseName(position)}.torn`);
  const file = yield* call<DiskFile>((done) => disk.open(target, 'create', done));
  for (let at = start; at < end; at += COPY_BYTES) {
    const chunk = Buffer.alloc(Math.min(COPY_BYTES, end - at));
    yield* call<number>((done) => from.read(chunk, at, done));
    yield* call((done) => file.write([chunk], at - start, done));
  }
  yield* call((done) => file.sync(done));
  yield* call((done) => file.close(done));
  yield* call((done) => disk.syncFolder('quarantine', done));
}

/** A name in `quarantine/` that is not taken: what an earlier attempt kept is not overwritten by what it left. */
function* freeName(disk: Disk, name: string): Steps<string> {
  const names = yield* call<readonly string[]>((done) => disk.list('quarantine', done));
  let number = 1;
  while (names.includes(`${name}-${number}`)) number++;
  return `quarantine/${name}-${number}`;
}

const COPY_BYTES = 1024 * 1024;
