import { attempt, call, type Disk, type DiskError, type DiskFile, type Steps } from '@tallystick/base';

/**
 * Two files that forbid a start, over reboots, until an operator takes them away: QUARANTINE, written when acknowledged data was
 * found damaged, and FSYNC_FAILED, written when a write or a sync failed (after which what one reads may not be what is stored).
 */
export type MarkerName = 'QUARANTINE' | 'FSYNC_FAILED';

export const MARKERS: readonly MarkerName[] = ['QUARANTINE', 'FSYNC_FAILED'];

const NEXT_STEP: Record<MarkerName, string> = {
  QUARANTINE: 'restore the store from a backup, or accept the loss by removing the file QUARANTINE and the damaged segments',
  FSYNC_FAILED:
    'check the disk, then remove the file FSYNC_FAILED: the next start writes everything after the last checkpoint again',
};

/** What is left to do, after its cause, when a store has failed. */
export const AFTER_FAILURE = 'then remove the file FSYNC_FAILED from the data folder and start again';

export function* writeMarker(disk: Disk, name: MarkerName, facts: Readonly<Record<string, unknown>>): Steps<void> {
  const file = yield* call<DiskFile>((done) => disk.open(name, 'create', done));
  const text = Buffer.from(`${JSON.stringify({ ...facts, next: NEXT_STEP[name] }, undefined, 2)}\n`, 'utf8');
  yield* call((done) => file.write([text], 0, done));
  yield* call((done) => file.sync(done));
  yield* call((done) => file.close(done));
  yield* call((done) => disk.syncFolder('', done));
}

/** The first marker among the names in the store's folder, as a sentence. */
export function* findMarker(disk: Disk, names: readonly string[]): Steps<string | undefined> {
  const name = MARKERS.find((marker) => names.includes(marker));
  if (name === undefined) return undefined;
  const opened = yield* attempt<DiskFile, DiskError>((done) => disk.open(name, 'open', done));
  let text = '';
  if (opened.error === undefined) {
    const bytes = Buffer.alloc(4096);
    const read = yield* attempt<number, DiskError>((done) => opened.value.read(bytes, 0, done));
    yield* attempt((done) => opened.value.close(done));
    text = bytes.toString('utf8', 0, read.error === undefined ? read.value : 0).replace(/\s+/g, ' ');
  }
  return `the file ${name} forbids a start: ${NEXT_STEP[name]}. It says: ${text === '' ? 'nothing' : text}`;
}
