/**
 * Defects built in on purpose: each is a mistake that real systems have made, and a simulation that does not find it proves nothing.
 * The product has no branches for them: they wrap a port, or replace a method for the time of one schedule.
 */
import type { Disk, DiskFile } from '@tallystick/base';
import { ConsumerOffsets } from '../../packages/broker/src/groups/consumer-offsets.ts';
import { ReadingLimits } from '../../packages/broker/src/groups/reading-limits.ts';
import { ControlType } from '../../packages/broker/src/store/control-records.ts';
import { CheckpointFile } from '../../packages/broker/src/store/checkpoint.ts';
import { LogWriter } from '../../packages/broker/src/store/log-writer.ts';
import { QueueReader } from '../../packages/broker/src/store/queue-reader.ts';
import { ProducerSequences } from '../../packages/broker/src/sequences/producer-sequences.ts';
import type { RecordView } from '../../packages/broker/src/store/record-view.ts';
import { Store } from '../../packages/broker/src/store/store.ts';
import { CheckAsker } from '../../packages/broker/src/transaction/check-asker.ts';
import { HalfState } from '../../packages/broker/src/transaction/half-state.ts';
import { HalfTable } from '../../packages/broker/src/transaction/half-table.ts';
import { TransactionEnds } from '../../packages/broker/src/transaction/transaction-ends.ts';
import type { EndClaim } from '../../packages/broker/src/transaction/verdict.ts';
import { ProducerCore } from '../../packages/client/src/producer/producer-core.ts';
import { RequestNumbers } from '../../packages/client/src/producer/request-numbers.ts';
import type { Defect } from './defect.ts';
import { truncateAtCorruption } from './repair.ts';
import { runSchedule } from './schedule.ts';

export interface Hunt {
  readonly caughtBy: string | undefined;
  readonly schedules: number;
  readonly seed: number | undefined;
}

/** Runs schedules with the defect until one is caught or the budget is spent. */
export function huntDefect(defect: Defect, budget: number, firstSeed = 1): Hunt {
  for (let n = 1; n <= budget; n++) {
    const seed = firstSeed + n - 1;
    const violation = runSchedule(seed, { defect }).violations[0];
    if (violation !== undefined) return { caughtBy: violation.invariant, schedules: n, seed };
  }
  return { caughtBy: undefined, schedules: budget, seed: undefined };
}

const CUTS = { powerCuts: 1, crashes: 4, trouble: 'none', rot: 'none' } as const;
const BANKS = { play: 'broker', transactionProducers: 2, trouble: 'none', rot: 'none' } as const;

const NUMBERS = { play: 'broker', numbering: true, trouble: 'none', rot: 'none', crashes: 4 } as const;
const POOLED = { flush: 'async', pooled: true, powerCuts: 0, crashes: 4, trouble: 'none', rot: 'none' } as const;

export const DEFECTS: readonly Defect[] = [
  {
    name: 'no-folder-sync',
    sentence: 'a new segment is synced, its folder is not: a power cut loses the whole file',
    budget: 200,
    disk: (disk) => ({ ...bound(disk), syncFolder: (_path, done) => disk.list('', (error) => done(error)) }),
    plan: CUTS,
  },
  {
    name: 'ack-before-sync',
    sentence: 'a sync is reported done when it begins',
    budget: 200,
    from: 8,
    disk: (disk) =>
      withFiles(disk, (file) => ({
        ...boundFile(file),
        sync: (done) => {
          file.sync(() => {});
          file.size((error) => done(error));
        },
      })),
    plan: { ...CUTS, flush: 'sync' },
  },
  {
    name: 'sync-that-lies',
    sentence: 'a device says that it has synced and has not: the control for the whole disk model',
    budget: 200,
    disk: (disk) => withFiles(disk, (file) => ({ ...boundFile(file), sync: (done) => file.size((error) => done(error)) })),
    plan: CUTS,
  },
  {
    name: 'write-through-that-lies',
    sentence: 'a write that should carry its own sync is a plain write',
    budget: 200,
    disk: (disk) =>
      withFiles(disk, (file) => ({
        ...boundFile(file),
        writeThrough: (chunks, position, done) => file.write(chunks, position, done),
      })),
    plan: { ...CUTS, flush: 'sync', writesThrough: true },
  },
  {
    name: 'truncate-at-corruption',
    sentence: 'recovery cuts the log off at the first unreadable group, whatever comes after it',
    budget: 400,
    from: 8,
    beforeStart: truncateAtCorruption,
    plan: { rot: 'log', flush: 'sync', trouble: 'none' },
  },
  {
    name: 'half-visible-early',
    sentence: 'a half message is committed by the broker itself, before its sender has said so',
    budget: 200,
    plant: () => {
      let early: { ends: TransactionEnds; claim: EndClaim } | undefined;
      const byAdd = replace(
        HalfTable.prototype,
        'addKeyed',
        (original) =>
          function (this: HalfTable, offset, position, storedAtMs, group, topic, key, start, end) {
            original.call(this, offset, position, storedAtMs, group, topic, key, start, end);
            const id = key.toString('utf8', start, end);
            if (offset % 5 === 3) next = { outcome: 'committed', group, offset, position, messageId: id, transactionId: id };
          },
      );
      let next: EndClaim | undefined;
      // The next confirmation of anybody carries the early one along.
      const bySubmit = replace(
        TransactionEnds.prototype,
        'submit',
        (original) =>
          function (this: TransactionEnds, claim, peer, ref) {
            original.call(this, claim, peer, ref);
            if (next === undefined || early !== undefined) return;
            early = { ends: this, claim: next };
            next = undefined;
            original.call(early.ends, early.claim, peer, undefined);
            early = undefined;
          },
      );
      return () => {
        bySubmit();
        byAdd();
      };
    },
    plan: BANKS,
  },
  {
    name: 'tail-not-zeroed',
    sentence: 'recovery drops a torn tail but leaves its bytes where the next groups will be written around them',
    budget: 600,
    from: 16,
    disk: (disk, isRecovering) =>
      withFiles(disk, (file) => ({
        ...boundFile(file),
        write: (chunks, position, done) => {
          const isZeroing = isRecovering() && isSegment(file.path) && chunks.every((chunk) => chunk.every((byte) => byte === 0));
          if (isZeroing) file.size((error) => done(error));
          else file.write(chunks, position, done);
        },
      })),
    plan: { ...CUTS, play: 'store', crashes: 8, crashInRecovery: 0, groupBytes: 512, sendEveryMs: 4 },
  },
  {
    name: 'refusal-not-sticky',
    sentence: 'a store that refused to open forgets why, and opens after the next boot',
    budget: 600,
    from: 9,
    disk: (disk) => ({
      ...bound(disk),
      open: (path, mode, done) => disk.open(mode === 'create' && path === 'QUARANTINE' ? 'forgotten' : path, mode, done),
    }),
    plan: { rot: 'log', flush: 'sync', trouble: 'none' },
  },
  {
    name: 'no-boot-id-rule',
    sentence: 'damage after a mere kill is taken for a torn write, as if the machine had gone down',
    budget: 600,
    from: 13,
    disk: (disk) => {
      boots++;
      return { ...bound(disk), bootId: () => `another-boot-${boots}` };
    },
    plan: { rot: 'log', flush: 'sync', trouble: 'none', powerCuts: 0 },
  },
  {
    name: 'checkpoint-ahead-of-data',
    sentence: 'the checkpoint promises more than has been synced',
    budget: 200,
    plant: () =>
      replace(
        CheckpointFile.prototype,
        'save',
        (original) =>
          function (this: CheckpointFile, checkpoint) {
            return original.call(
              this,
              checkpoint.isClean
                ? checkpoint
                : { ...checkpoint, durableEnd: checkpoint.durableEnd + 200, end: checkpoint.end + 200 },
            );
          },
      ),
    plan: CUTS,
  },
  {
    name: 'snapshot-ahead-of-log',
    sentence: 'offsets are written to a snapshot before the log that they come from is synced',
    budget: 600,
    from: 9,
    plant: () => replace(LogWriter.prototype, 'whenDurable', () => (_end, run) => run()),
    plan: CUTS,
  },
  {
    name: 'second-end-accepted',
    sentence: 'a rollback is forgotten over a restart, so a later commit is confirmed too',
    budget: 200,
    from: 18,
    plant: () => forgettingVerdicts((record) => record.isControl && record.controlType === ControlType.ROLLBACK),
    plan: { ...BANKS, contestants: 1, crashes: 4 },
  },
  {
    name: 'duplicate-commit-visible',
    sentence: 'a commit is forgotten over a restart, and carried out again',
    budget: 200,
    plant: () => forgettingVerdicts((record) => !record.isControl && (record.sysFlag & 12) === 8),
    plan: { ...BANKS, crashes: 4 },
  },
  {
    name: 'checks-counted-unsent',
    sentence: 'questions that could not be asked count, so a half message is given up without one real question',
    budget: 200,
    plant: () =>
      replace(
        CheckAsker.prototype,
        'ask',
        (original) =>
          function (this: CheckAsker, row, times, done) {
            original.call(this, row, times, () => done(true));
          },
      ),
    plan: { ...BANKS, endLost: 0.8, checkMax: 3, clientKills: 3, checkAfterMs: 30, checkIntervalMs: 50, checkUnknown: 0 },
  },
  {
    name: 'offset-skipped',
    sentence: 'now and then a queue leaves out a number',
    budget: 100,
    plant: () =>
      replace(
        Store.prototype,
        'append',
        (original) =>
          function (this: Store, m, level, sink, token) {
            const accepted = original.call(this, m, level, sink, token);
            if (accepted && m.queueOffset % 16 === 9) m.queue.nextOffset++;
            return accepted;
          },
      ),
    plan: { trouble: 'none', rot: 'none' },
  },
  {
    name: 'roll-drops-pending-append',
    sentence: 'what was waiting when a segment was rolled is not written',
    budget: 200,
    disk: (disk) =>
      withFiles(disk, (file) => ({
        ...boundFile(file),
        write: (chunks, position, done) => {
          const isFirst = isSegment(file.path) && position === 0 && chunks.length > 1 && Number(file.path.slice(-20)) > 0;
          file.write(isFirst ? chunks.slice(0, 1) : chunks, position, done);
        },
      })),
    plan: { trouble: 'none', rot: 'none' },
  },
  {
    name: 'sequences-forgotten-at-restart',
    sentence:
      'which numbered requests are stored is not read back from the log: after a restart they are refused, or stored again',
    budget: 100,
    plant: () =>
      replace(
        ProducerSequences.prototype,
        'apply',
        (original) =>
          function (this: ProducerSequences, record, live) {
            if (live) original.call(this, record, live);
          },
      ),
    plan: { ...NUMBERS, flush: 'sync' },
  },
  {
    name: 'duplicate-appended-again',
    sentence: 'a numbered request that comes again is stored again',
    budget: 100,
    plant: () =>
      replace(
        ProducerSequences.prototype,
        'judge',
        (original) =>
          function (this: ProducerSequences, bytes, start, end, topic, queueId) {
            const verdict = original.call(this, bytes, start, end, topic, queueId);
            return verdict === 'duplicate' ? 'new' : verdict;
          },
      ),
    plan: NUMBERS,
  },
  {
    name: 'duplicate-acknowledged-early',
    sentence: 'a repeated request is acknowledged while its original is still on its way to the disk',
    budget: 300,
    plant: () =>
      replace(
        Store.prototype,
        'whenKept',
        () =>
          function (this: Store, position, queueOffset, _level, sink, token) {
            sink.appended(token, 'ok', position, queueOffset);
          },
      ),
    plan: { ...NUMBERS, flush: 'sync', powerCuts: 1, crashes: 6, diskSlowness: 10, sendEveryMs: 4 },
  },
  {
    name: 'unknown-reported-as-success',
    sentence: 'the client takes a lost answer for a good one',
    budget: 200,
    plant: () =>
      replace(
        ProducerCore.prototype,
        'sendMarked',
        (original) =>
          function (this: ProducerCore, record, marks, done) {
            return original.call(this, record, marks, (error, receipt) => {
              if (error?.outcome !== 'unknown') return done(error as never, receipt as never);
              done(undefined as never, { queueId: record.queueId ?? 0, offset: 1_000_000, offsetMessageId: '' } as never);
            });
          },
      ),
    plan: { play: 'broker', producers: 2, crashes: 4, trouble: 'none', rot: 'none' },
  },
  {
    name: 'repeated-after-maybe',
    sentence: 'the client sends again what may be stored, without numbers that would make it harmless',
    budget: 200,
    plant: () =>
      replace(
        ProducerCore.prototype,
        'sendMarked',
        (original) =>
          function (this: ProducerCore, record, marks, done) {
            return original.call(this, record, marks, (error, receipt) => {
              if (error?.outcome === 'unknown') original.call(this, record, marks, done);
              else done(error, receipt);
            });
          },
      ),
    plan: { play: 'broker', producers: 2, crashes: 4, trouble: 'none', rot: 'none' },
  },
  {
    name: 'another-number-each-time',
    sentence: 'a repeated request gets a new number: its broker takes it for another one',
    budget: 200,
    plant: () =>
      replace(
        RequestNumbers.prototype,
        'number',
        (original) =>
          function (this: RequestNumbers, batch) {
            batch.number = -1;
            original.call(this, batch);
          },
      ),
    plan: { play: 'broker', producers: 2, crashes: 4, trouble: 'none', rot: 'none' },
  },
  {
    name: 'offset-told-before-synced',
    sentence: 'a group is told an offset that a crash can take back',
    budget: 400,
    from: 266,
    plant: () =>
      replace(
        ConsumerOffsets.prototype,
        'query',
        () =>
          function (this: ConsumerOffsets, group, topic, queueId, done) {
            const offset = this.peek(group, topic, queueId);
            done('ok', offset < 0 ? undefined : offset);
          },
      ),
    plan: { ...CUTS, play: 'broker', flush: 'sync', producers: 2, consumersA: 2, diskSlowness: 10, sendEveryMs: 4 },
  },
  {
    name: 'read-beyond-committed',
    sentence: 'a reader is shown what still lies in a buffer of the transient store pool',
    budget: 200,
    plant: () =>
      replace(
        QueueReader.prototype,
        'read',
        (original) =>
          function (this: QueueReader, request, done) {
            request.queue.maxOffset = request.queue.nextOffset;
            original.call(this, request, done);
          },
      ),
    plan: { ...POOLED, play: 'store' },
  },
  {
    name: 'synced-out-of-the-pool',
    sentence: 'a half message or its confirmation is content with a buffer of the transient store pool',
    budget: 200,
    plant: () =>
      replace(
        Store.prototype,
        'append',
        (original) =>
          function (this: Store, m, _level, sink, token) {
            return original.call(this, m, 'flush', sink, token);
          },
      ),
    plan: { ...POOLED, ...BANKS, contestants: 1, checkAfterMs: 300 },
  },
  {
    name: 'ahead-of-a-shortened-log',
    sentence: 'a consumer that has read what a power cut took away goes on behind it, over the messages that took those places',
    budget: 200,
    plant: () => replace(ReadingLimits.prototype, 'begin', () => () => {}),
    plan: {
      ...CUTS,
      play: 'broker',
      flush: 'async',
      crashes: 1,
      crashInRecovery: 0,
      orderlyStop: 0,
      producers: 2,
      consumersA: 2,
      sendEveryMs: 4,
      handlerFails: 0,
    },
  },
];

let boots = 0;

/** A restart does not remember verdicts of this kind: their halves look open again. */
function forgettingVerdicts(isVerdict: (record: RecordView) => boolean): () => void {
  return replace(
    HalfState.prototype,
    'apply',
    (original) =>
      function (this: HalfState, record, live) {
        if (live || !isVerdict(record)) original.call(this, record, live);
      },
  );
}

function replace<T extends object, K extends keyof T>(target: T, key: K, make: (original: T[K]) => T[K]): () => void {
  const original = target[key];
  target[key] = make(original);
  return () => {
    target[key] = original;
  };
}

function isSegment(path: string): boolean {
  return /^log\/\d{20}$/.test(path);
}

/** A disk's methods as own properties, so that some can be replaced. */
function bound(disk: Disk): Disk {
  return {
    open: (path, mode, done) => disk.open(path, mode, done),
    makeFolder: (path, done) => disk.makeFolder(path, done),
    list: (path, done) => disk.list(path, done),
    rename: (from, to, done) => disk.rename(from, to, done),
    remove: (path, done) => disk.remove(path, done),
    syncFolder: (path, done) => disk.syncFolder(path, done),
    bootId: () => disk.bootId(),
  };
}

function boundFile(file: DiskFile): DiskFile {
  return {
    path: file.path,
    write: (chunks, position, done) => file.write(chunks, position, done),
    read: (into, position, done) => file.read(into, position, done),
    sync: (done) => file.sync(done),
    size: (done) => file.size(done),
    truncate: (bytes, done) => file.truncate(bytes, done),
    close: (done) => file.close(done),
  };
}

function withFiles(disk: Disk, wrap: (file: DiskFile) => DiskFile): Disk {
  return {
    ...bound(disk),
    open: (path, mode, done) => disk.open(path, mode, (error, file) => done(error, error === undefined ? wrap(file) : file)),
  };
}
