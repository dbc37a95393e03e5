import { call, type Disk, type DiskFile, type Steps } from '@tallystick/base';
import { encodeIndex, indexPath, type IndexedQueue, type IndexHead } from './index-file.ts';
import type { QueueTable } from './queue-table.ts';

/** Writes the index file of a segment out of the hot runs in a table; durable when the steps end. Gives where each run went. */
export function* writeIndex(disk: Disk, head: IndexHead, queues: QueueTable): Steps<readonly IndexedQueue[]> {
  const runs = [];
  for (const { topic, queueId, entries } of queues) {
    const run = entries.hotRunOf(head.base);
    if (run !== undefined) runs.push({ topic, queueId, run });
  }
  const { bytes, queues: places } = encodeIndex(head, runs);
  const file = yield* call<DiskFile>((done) => disk.open(TEMPORARY, 'create', done));
  for (let at = 0; at < bytes.length; at += WRITE_BYTES) {
    const chunk = bytes.subarray(at, Math.min(bytes.length, at + WRITE_BYTES));
    yield* call((done) => file.write([chunk], at, done));
  }
  yield* call((done) => file.sync(done));
  yield* call((done) => file.close(done));
  yield* call((done) => disk.rename(TEMPORARY, indexPath(head.base), done));
  yield* call((done) => disk.syncFolder('index', done));
  return places;
}

const TEMPORARY = 'index/writing';
const WRITE_BYTES = 1024 * 1024;
