import { call, readI32, run, type Steps } from '@tallystick/base';
import { PropertyLocator } from '@tallystick/remoting';
import type { AppendMessage } from './append-message.ts';
import { AppendRoom } from './append-room.ts';
import { CheckpointFile } from './checkpoint.ts';
import { withNextStep } from './disk-trouble.ts';
import { GroupBuilder } from './group-builder.ts';
import { Housekeeping } from './housekeeping.ts';
import { IndexCache } from './index-cache.ts';
import { Interests } from './interests.ts';
import { LogReader } from './log-reader.ts';
import { LogWriter } from './log-writer.ts';
import { AFTER_FAILURE, writeMarker } from './markers.ts';
import { storeOptions, type GivenStoreOptions, type StoreOptions } from './options.ts';
import { QueueReader } from './queue-reader.ts';
import type { QueueRef } from './queue-ref.ts';
import { QueueTable } from './queue-table.ts';
import type { RecentRecord } from './recent-record.ts';
import {
  controlRecordBytes,
  encodeControlRecord,
  encodeMessageRecord,
  messageRecordBytes,
  PROPERTIES_BYTES_MAX,
} from './record-encode.ts';
import { RecordView } from './record-view.ts';
import { recover, type Recovered } from './recovery.ts';
import { Segments } from './segments.ts';
import {
  StoreError,
  type AckLevel,
  type AppendOutcome,
  type AppendSink,
  type Derived,
  type ReadRequest,
  type ReadResult,
  type RecoveryReport,
  type StoreInfo,
  type StorePorts,
  type StoreSettings,
  type StoreSignals,
} from './store-types.ts';
import { Tail } from './tail.ts';
import { TransientPool } from './transient-pool.ts';
import { VisibleQueues } from './visible-queues.ts';
import { WaitingAppends } from './waiting-appends.ts';

export type Refusal = Exclude<AppendOutcome, 'ok' | 'timeout'>;

/**
 * The store: a checksummed group commit log, its queues, and what is derived from it. Promises: an append reported `ok` is as durable
 * as was asked; nothing is shown to readers before it is; after a crash the log is a prefix of what was appended that holds
 * everything reported durable, or the store refuses to open and says where it is damaged. Leaves to others: what messages mean.
 *
 *   new       `open` has not been called            opening   recovery is running
 *   open      appends and reads                     closing   refuses appends, writes and syncs the rest, takes a last snapshot
 *   closed    nothing works, nothing runs           failed    a write or sync failed: reads work, no append will ever succeed
 */
export class Store {
  readonly options: StoreOptions;
  readonly #ports: StorePorts;
  readonly #signals: StoreSignals;
  readonly #derived: readonly Derived[];
  /** Those among them who see messages, and which messages. */
  readonly #readers: readonly Derived[];
  readonly #interests: Interests;
  readonly #settings: StoreSettings;
  readonly #storeHost: Uint8Array;
  readonly #queues = new QueueTable();
  readonly #segments: Segments;
  readonly #tail: Tail;
  readonly #pool: TransientPool | undefined;
  readonly #builder: GroupBuilder;
  readonly #writer: LogWriter;
  readonly #log: LogReader;
  readonly #index: IndexCache;
  readonly #reader: QueueReader;
  readonly #checkpoint: CheckpointFile;
  readonly #housekeeping: Housekeeping;
  readonly #room: AppendRoom;
  readonly #waiting: WaitingAppends;
  readonly #visible: VisibleQueues;
  readonly #view = new RecordView();
  #state: StoreInfo['state'] = 'new';
  #failure = '';
  #isInTurn = false;
  #isTogether = false;
  #turnNowMs = 0;
  #turnMonotonicMs = 0;
  #newestMs = 0;
  /** End of the record that was appended last. */
  #lastEnd = 0;
  #closing: ((error: StoreError | undefined) => void) | undefined;
  #messages = 0;

  constructor(
    ports: StorePorts,
    given: GivenStoreOptions,
    settings: StoreSettings,
    signals: StoreSignals,
    derived: readonly Derived[],
  ) {
    const options = storeOptions(given);
    this.options = options;
    this.#ports = ports;
    this.#settings = settings;
    this.#signals = signals;
    this.#derived = derived;
    this.#readers = derived.filter((part) => part.records === 'all');
    this.#interests = new Interests(this.#readers);
    this.#storeHost = settings.storeHost ?? LOCAL_HOST;
    this.#segments = new Segments(ports.disk, ports.clock, options.segmentBytes, options.reserveBytes, (sentence) =>
      signals.movedAside?.(sentence),
    );
    const isPooled = options.transientStorePoolEnable;
    const blockBytes = Math.min(isPooled ? options.transientStorePoolBufferBytes : options.blockBytes, options.segmentBytes);
    this.#tail = new Tail(blockBytes, options.tailBytes, isPooled ? options.transientStorePoolSize : undefined);
    if (isPooled) this.#pool = new TransientPool(options.transientStorePoolSize, this.#tail, () => this.#writer.writtenEnd);
    this.#builder = new GroupBuilder(this.#tail, this.#segments, options.groupBytes, (from, to) =>
      this.#housekeeping.rolled(from, to),
    );
    this.#waiting = new WaitingAppends(ports, options, this.#builder, this.#pool);
    this.#visible = new VisibleQueues((queue, maxOffset) => this.#signals.arrived(queue, maxOffset));
    const storeId = (): string => this.#segments.storeId;
    const pace = {
      ...options,
      commitBytes: isPooled ? options.commitCommitLogLeastPages * PAGE_BYTES : 0,
      commitIntervalMs: options.commitIntervalCommitLog,
    };
    this.#writer = new LogWriter(this.#builder, ports, pace, {
      get storeId() {
        return storeId();
      },
      syncWantedFrom: () => this.#waiting.syncWantedFrom,
      writeWantedTo: () => this.#waiting.writeWantedTo,
      needFile: (segment) => this.#housekeeping.space.needFile(segment),
      written: (end) => this.#written(end),
      durable: (end) => this.#durable(end),
      failed: (reason) => this.#fail(reason),
    });
    this.#log = new LogReader(ports.disk, this.#tail, this.#segments, options.spanBytes, options.spanCacheBytes);
    this.#index = new IndexCache(ports.disk, options.indexCacheBlocks);
    this.#checkpoint = new CheckpointFile(ports.disk);
    const tagsCodeOf = (record: RecordView): number => settings.tagsCodeOf?.(record) ?? tagsCodeIn(record);
    const shared = {
      disk: ports.disk,
      segments: this.#segments,
      queues: this.#queues,
      tail: this.#tail,
      log: this.#log,
      index: this.#index,
    };
    this.#housekeeping = new Housekeeping({
      ...shared,
      clock: ports.clock,
      timers: ports.timers,
      options,
      builder: this.#builder,
      writer: this.#writer,
      checkpoint: this.#checkpoint,
      derived,
      floor: settings.floor ?? (() => Number.POSITIVE_INFINITY),
      tagsCodeOf,
      onFull: (isFull) => signals.full(isFull),
      onShortOfFiles: (sentence) => signals.shortOfFiles?.(sentence),
      onFailed: (reason) => this.#fail(reason),
    });
    this.#room = new AppendRoom(options, this.#segments, this.#builder, this.#writer, this.#housekeeping.space, this.#pool);
    this.#reader = new QueueReader({
      ...shared,
      visibleEnd: () => this.#visible.end,
      rebuildIndex: (segmentBase) => this.#housekeeping.rebuildIndex(segmentBase),
      readsWaitingMax: options.readsWaitingMax,
      turn: ports.turn,
      progress: () => this.#signals.progress?.(),
    });
  }

  /** Recovers and starts. Nothing else may be called before `done` said yes. A store object is opened once. */
  open(done: (error: StoreError | undefined, report: RecoveryReport) => void): void {
    if (this.#state !== 'new') throw new Error(`a store is opened once; this one is ${this.#state}`);
    this.#state = 'opening';
    const { disk, random } = this.#ports;
    const tagsCodeOf = (record: RecordView): number => this.#settings.tagsCodeOf?.(record) ?? tagsCodeIn(record);
    const sawTime = (ms: number): void => {
      this.#newestMs = Math.max(this.#newestMs, ms);
    };
    const parts = {
      disk,
      random,
      segments: this.#segments,
      queues: this.#queues,
      checkpoint: this.#checkpoint,
      derived: this.#derived,
      tagsCodeOf,
      tagsCodeTopics: this.#settings.tagsCodeOf === undefined ? [] : this.#settings.tagsCodeTopics,
      sawTime,
    };
    run(
      () => recover(parts),
      (error, recovered) => {
        if (error === undefined) return done(undefined, this.#start(recovered));
        this.#state = 'closed';
        done(
          error instanceof StoreError
            ? error
            : new StoreError('io', `the store cannot be opened: ${withNextStep(error, ', then start again')}`),
          undefined as never,
        );
      },
    );
  }

  /** Writes all, syncs, takes a snapshot, marks the store clean. Appends are refused from the call on; reads are not answered any more. */
  close(done: (error: StoreError | undefined) => void): void {
    if (this.#state === 'closed') return done(undefined);
    if (this.#state === 'failed') {
      return this.#release(() =>
        run(
          () => this.#closeFiles(),
          () => done(new StoreError('io', this.#failure)),
        ),
      );
    }
    if (this.#state !== 'open') throw new Error(`close of a store that is ${this.#state}`);
    this.#state = 'closing';
    this.#closing = done;
    this.#builder.close();
    this.#writer.force();
    const tooLate = this.#ports.timers.after(this.options.closeTimeoutMs, () => this.#abandon());
    this.#writer.whenDurable(this.#builder.closedEnd, () => {
      this.#ports.timers.cancel(tooLate);
      this.#release(() =>
        run(
          () => this.#conclude(),
          (error) => this.#closed(error),
        ),
      );
    });
  }

  // Appending.

  /** True: accepted, `m`'s assigned fields are set, the sink will hear. False: refused, the sink has heard already. */
  append(m: AppendMessage, level: AckLevel, sink: AppendSink, token: number): boolean {
    const bytes = messageRecordBytes(m, this.#storeHost.length);
    const propertiesBytes = m.propertiesEnd - m.propertiesStart + (m.extraEnd - m.extraStart);
    const refusal = propertiesBytes > PROPERTIES_BYTES_MAX ? 'too-large' : this.#refusal(bytes, m.mayUseReserve);
    if (refusal !== undefined) {
      sink.appended(token, refusal, -1, -1);
      return false;
    }
    this.#beginTurn();
    const builder = this.#builder;
    builder.reserve(bytes);
    const { queue } = m;
    const block = builder.block!;
    const at = builder.at;
    const position = block.base + at;
    const queueOffset = queue.nextOffset;
    m.position = position;
    m.queueOffset = queueOffset;
    m.storeTimestamp = this.#turnNowMs;
    m.recordBytes = bytes;
    const end = encodeMessageRecord(m, this.#storeHost, block.bytes, at);
    builder.took(end);
    queue.nextOffset = queueOffset + 1;
    block.segment.newestMs = this.#turnNowMs;
    queue.entries.push(block.segment.base, position, bytes, m.tagsCode, queueOffset);
    this.#visible.grew(queue);
    this.#messages++;
    this.#lastEnd = position + bytes;
    this.#waiting.add(level, sink, token, position + bytes, position, queueOffset, this.#turnMonotonicMs);
    if (this.#isTold(m)) {
      this.#view.move(block.bytes, at, end, position);
      for (const part of this.#readers) part.apply(this.#view, true);
    }
    if (builder.openBytes >= EARLY_WRITE_BYTES) this.#writeEarly();
    return true;
  }

  /** Whether some part wants to hear of a message; most are nobody's concern. */
  #isTold({ queue, sysFlag, properties, propertiesStart, propertiesEnd }: AppendMessage): boolean {
    const interests = this.#interests;
    return (
      (queue.isTold ??= interests.isTopicTold(queue.topic)) ||
      (sysFlag & interests.sysFlagBits) !== 0 ||
      (propertiesEnd - propertiesStart >= 4 && readI32(properties, propertiesStart) === interests.firstWord)
    );
  }

  /**
   * In a long turn the log is written while requests are still being read. Synchronous mode gathers: a sync costs the same for a
   * little and for a lot.
   */
  #writeEarly(): void {
    if (this.#isTogether || this.options.flush === 'sync' || !this.#writer.isIdle) return;
    this.#builder.close();
    this.#writer.pump();
  }

  /** Appends a control record (may always use the reserve). Gives its position, -1 when refused. */
  appendControl(type: number, version: number, body: Uint8Array, level: AckLevel, sink: AppendSink, token: number): number {
    const bytes = controlRecordBytes(body.length);
    const refusal = this.#refusal(bytes, true);
    if (refusal !== undefined) {
      sink.appended(token, refusal, -1, -1);
      return -1;
    }
    this.#beginTurn();
    const builder = this.#builder;
    builder.reserve(bytes);
    const block = builder.block!;
    const at = builder.at;
    const position = block.base + at;
    const end = encodeControlRecord(type, version, body, block.bytes, at);
    builder.took(end);
    this.#lastEnd = position + bytes;
    this.#waiting.add(level, sink, token, position + bytes, position, -1, this.#turnMonotonicMs);
    this.#view.move(block.bytes, at, end, position);
    for (const part of this.#derived) part.apply(this.#view, true);
    return position;
  }

  /**
   * Everything appended inside `run` lies in one group: after a crash all of it is there or nothing. `bytesMax` is an upper bound of
   * the encoded size, the sum of `messageBytes` and `controlBytes`. Refused as a whole: then `run` was not called.
   */
  together(bytesMax: number, mayUseReserve: boolean, run: () => void): 'ok' | Refusal {
    if (this.#isTogether) throw new Error('together inside together');
    const refusal = this.#refusal(bytesMax, mayUseReserve);
    if (refusal !== undefined) return refusal;
    this.#beginTurn();
    this.#builder.pin(bytesMax);
    this.#isTogether = true;
    try {
      run();
    } catch (error) {
      // Half a decision lies in the open group and must never reach the disk.
      this.#fail(`a decision could not be appended as a whole: ${String(error)}`);
      throw error;
    } finally {
      this.#isTogether = false;
      this.#builder.unpin();
    }
    if (this.#builder.openBytes >= EARLY_WRITE_BYTES) this.#writeEarly();
    return 'ok';
  }

  /**
   * Tells the sink when a record that was appended earlier is as durable as is asked: during the call when it is already. For those who
   * repeat a request; they are never told before the record's own append was.
   */
  whenKept(position: number, queueOffset: number, level: AckLevel, sink: AppendSink, token: number): void {
    if (position < (this.#waiting.isDurable(level) ? this.#writer.durableEnd : this.#writer.writtenEnd))
      return sink.appended(token, 'ok', position, queueOffset);
    if (this.#state !== 'open')
      return sink.appended(token, this.#state === 'failed' ? 'failed' : 'timeout', position, queueOffset);
    this.#beginTurn();
    this.#waiting.add(level, sink, token, this.#lastEnd, position, queueOffset, this.#turnMonotonicMs);
  }

  messageBytes(m: AppendMessage): number {
    return messageRecordBytes(m, this.#storeHost.length);
  }

  controlBytes(bodyBytes: number): number {
    return controlRecordBytes(bodyBytes);
  }

  /** Why an append of so many bytes is not taken now; undefined when it is. */
  #refusal(bytes: number, mayUseReserve: boolean): Refusal | undefined {
    if (this.#state !== 'open') return this.#state === 'failed' ? 'failed' : 'closed';
    return this.#isTogether ? undefined : this.#room.refusal(bytes, mayUseReserve);
  }

  #beginTurn(): void {
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    this.#turnMonotonicMs = this.#ports.clock.monotonic();
    // Store times never go back, whatever the clock does.
    this.#turnNowMs = this.#newestMs = Math.max(this.#newestMs, this.#ports.clock.now());
    this.#ports.turn.atEnd(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#isInTurn = false;
    if (this.#state === 'failed' || this.#state === 'closed') return;
    this.#builder.close();
    this.#writer.pump();
    this.#waiting.buffered(this.#builder.closedEnd);
    this.#tail.trim(this.#writer.writtenEnd);
    this.#housekeeping.space.keepAhead();
  }

  // What the disk has done.

  #written(end: number): void {
    if (this.options.flush === 'async') {
      this.#visible.end = end;
      this.#waiting.written(end);
      this.#visible.show();
    }
    this.#signals.progress?.();
  }

  #durable(end: number): void {
    if (this.options.flush === 'sync') this.#visible.end = end;
    this.#waiting.durable(end);
    if (this.options.flush === 'sync') this.#visible.show();
    this.#housekeeping.coolIndexes();
    this.#signals.progress?.();
  }

  #fail(reason: string): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    this.#state = 'failed';
    this.#failure = `${reason}; ${AFTER_FAILURE}`;
    this.#writer.stop();
    this.#housekeeping.stop(() => {});
    this.#waiting.stop();
    const facts = {
      reason,
      writtenEnd: this.#writer.writtenEnd,
      durableEnd: this.#writer.durableEnd,
      bootId: this.#ports.disk.bootId(),
    };
    // As well as it can be done: the disk that should keep the note has just failed.
    run(
      () => writeMarker(this.#ports.disk, 'FSYNC_FAILED', facts),
      () => {},
    );
    this.#waiting.endAll('failed');
    this.#signals.failed(this.#failure);
    const closing = this.#closing;
    this.#closing = undefined;
    if (closing !== undefined) this.#release(() => closing(new StoreError('io', this.#failure)));
  }

  // How busy the disk is.

  /** Monotonic ms at which the oldest write of the log still in flight was begun (a sync does not count); undefined without one. */
  oldestWriteStartedMs(): number | undefined {
    return this.#writer.writeStartedMs;
  }

  /** How long the oldest append has waited for its write or sync; 0 when none does. */
  oldestWaitMs(): number {
    return this.#waiting.oldestMs;
  }

  /** Requests that wait for a read of the disk, without the urgent ones. */
  get readsWaiting(): number {
    return this.#reader.waiting;
  }

  /** Written but not yet synced bytes. */
  get unsyncedBytes(): number {
    return this.#writer.unsyncedBytes;
  }

  /** Buffers that the transient store pool could still fill; Infinity without a pool. */
  availableBuffers(): number {
    return this.#pool?.available ?? Number.POSITIVE_INFINITY;
  }

  // Queues and reading.

  /** The interned queue; made (empty) when unknown. */
  queue(topic: string, queueId: number): QueueRef {
    return this.#queues.intern(topic, queueId);
  }

  /** The interned queue if anything was ever appended or asked for there. */
  findQueue(topic: string, queueId: number): QueueRef | undefined {
    return this.#queues.find(topic, queueId);
  }

  queues(): Iterable<QueueRef> {
    return this.#queues;
  }

  /** Answers during the call when everything is in RAM, else later, in order of calls. */
  read(request: ReadRequest, done: (result: ReadResult) => void): void {
    this.#reader.read(request, done);
  }

  /** One message record by its address, e.g. out of a message id: anything may be asked. The bytes are valid during the call. Urgent ones overtake. */
  readRecord(position: number, done: (error: string | undefined, bytes: Buffer) => void, isUrgent = false): void {
    this.#reader.readRecord(position, done, isUrgent);
  }

  /** A message that readers may see and that still lies in RAM, at once; false: it takes {@link readRecord}. */
  recentRecord(queue: QueueRef, offset: number, position: number, into: RecentRecord): boolean {
    return position < this.#visible.end && into.find(queue, offset, position, this.#tail);
  }

  /** 'lower': first offset stored at or after the time (else max). 'upper': last offset stored at or before it (else min). */
  offsetByTime(
    queue: QueueRef,
    timestampMs: number,
    boundary: 'lower' | 'upper',
    done: (error: string | undefined, offset: number) => void,
  ): void {
    this.#reader.offsetByTime(queue, timestampMs, boundary, done);
  }

  /** Lowest position that has to stay so that `offset` and all after it stay; for the owner's `floor`. */
  floorOf(queue: QueueRef, offset: number): number {
    const { entries } = queue;
    if (offset >= queue.nextOffset) return this.#builder.closedEnd;
    const wanted = Math.max(offset, queue.minOffset);
    const run = entries.hotRun(wanted);
    if (run !== undefined) return run.segmentBase;
    const sealed = entries.sealed.find(wanted);
    return sealed < 0 ? this.#segments.first.base : entries.sealed.segmentBase[sealed]!;
  }

  /** Writes a snapshot of everything appended so far, once it is durable. */
  snapshotNow(done: (error: string | undefined) => void): void {
    if (this.#state !== 'open') return done(`the store is ${this.#state}`);
    this.#builder.close();
    this.#housekeeping.snapshotNow(done);
  }

  info(): StoreInfo {
    const writer = this.#writer;
    return {
      state: this.#state,
      isFull: this.#housekeeping.space.isFull,
      diskUsedRatio: this.#housekeeping.space.usedRatio,
      start: this.#segments.all.length === 0 ? 0 : this.#segments.first.base,
      appendedEnd: this.#builder.end,
      writtenEnd: writer.writtenEnd,
      durableEnd: writer.durableEnd,
      pendingBytes: this.#builder.end - writer.writtenEnd,
      unsyncedBytes: writer.unsyncedBytes,
      oldestWaitMs: this.oldestWaitMs(),
      waiting: this.#waiting.count,
      segments: this.#segments.all.length,
      messages: this.#messages,
      groups: this.#builder.groups,
      syncs: writer.syncs,
      writes: writer.writes,
      diskReads: this.#log.diskReads,
    };
  }

  // Starting and stopping.

  #start(recovered: Recovered): RecoveryReport {
    const { end, chain, epoch, snapshotPosition } = recovered;
    const segment = this.#segments.last;
    this.#builder.start(segment, end, chain.previousCrc, chain.sequence, epoch);
    // A snapshot for the base of the next segment stands for everything before it: nothing may be added there.
    this.#builder.isSegmentShut = snapshotPosition > end;
    this.#writer.start(end);
    this.#visible.end = end;
    this.#state = 'open';
    this.#housekeeping.start(recovered.snapshots);
    return {
      storeId: this.#segments.storeId,
      clean: recovered.isClean,
      isNew: recovered.isNew,
      epoch,
      start: this.#segments.first.base,
      end,
      snapshotPosition,
      scannedBytes: recovered.scannedBytes,
      rewrittenBytes: recovered.rewrittenBytes,
      tornBytes: recovered.tornBytes,
      rebuiltIndexes: recovered.rebuiltIndexes,
      notes: recovered.notes,
    };
  }

  /** Waits until no disk call is on its way. */
  #release(done: () => void): void {
    this.#writer.stop();
    this.#waiting.stop();
    this.#housekeeping.stop(() => this.#reader.stop(() => this.#writer.whenIdle(done)));
  }

  /** The disk does not take the rest: a full one, or one that hangs. What waits has been, or is now, told that it is uncertain. */
  #abandon(): void {
    if (this.#state !== 'closing') return;
    this.#state = 'closed';
    const { pendingBytes, unsyncedBytes } = this.info();
    this.#release(() => {});
    this.#waiting.endAll('timeout');
    this.#closed(
      new Error(
        `${pendingBytes + unsyncedBytes} bytes could not be brought to the disk in ${this.options.closeTimeoutMs} ms (closeTimeoutMs)`,
      ),
    );
  }

  *#conclude(): Steps<void> {
    yield* this.#housekeeping.conclude();
    yield* this.#closeFiles();
  }

  *#closeFiles(): Steps<void> {
    yield* this.#checkpoint.close();
    yield* this.#index.close();
    for (const segment of [...this.#segments.all, this.#segments.next]) {
      const file = segment?.file;
      if (segment === undefined || file === undefined) continue;
      segment.file = undefined;
      yield* call((done) => file.close(done));
    }
  }

  #closed(error: Error | undefined): void {
    const done = this.#closing;
    this.#closing = undefined;
    if (this.#state !== 'failed') this.#state = 'closed';
    done?.(error === undefined ? undefined : new StoreError('io', `the store was not closed cleanly: ${error.message}`));
  }
}

/** The hash of the TAGS property, 0 without one. */
function tagsCodeIn(record: RecordView): number {
  TAGS.locate(record.bytes, record.propertiesStart, record.propertiesEnd);
  return TAGS.hash(0);
}

const TAGS = new PropertyLocator(['TAGS']);

/** So much of an open group is written before the turn ends, if no write is on its way: smaller writes cost calls, larger ones time. */
const EARLY_WRITE_BYTES = 64 * 1024;
/** RocketMQ counts what is gathered in pages of the operating system. */
const PAGE_BYTES = 4096;
const LOCAL_HOST = Uint8Array.of(127, 0, 0, 1, 0, 0, 0, 0);
