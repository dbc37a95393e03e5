import type { Clock, Timer, Timers } from '@tallystick/base';
import type { Counters } from '../counters.ts';
import { CONTROL_VERSION } from '../journal.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { AppendMessage } from '../store/append-message.ts';
import { ControlType } from '../store/control-records.ts';
import type { QueueRef } from '../store/queue-ref.ts';
import { RecordView } from '../store/record-view.ts';
import type { Store } from '../store/store.ts';
import { NO_SINK, type AppendOutcome, type AppendSink, type ReadResult } from '../store/store-types.ts';
import { SCHEDULE_TOPIC } from '../topics/system-topics.ts';
import { topicConfig } from '../topics/topic.ts';
import type { TopicTable } from '../topics/topic-table.ts';
import { FIRED_BYTES, firedBody, type DelayState } from './delay-state.ts';

/**
 * Delivers messages that were not wanted before their time. Each level has one queue of the schedule topic, in which messages lie
 * in order of their due time (it stands in the tag field of the queue entry), so a level only ever looks at its first one. What is
 * due becomes an ordinary message at its real topic, in one write group with the note that it has fired; nothing is early, a
 * restart loses and repeats nothing, and a million that fall due together go out in bounded batches.
 */
export class DelayLevels implements AppendSink {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #store: Store;
  readonly #state: DelayState;
  readonly #topics: TopicTable;
  readonly #counters: Counters;
  readonly #batchMax: number;
  readonly #levels = new Map<number, Level>();
  readonly #message = new AppendMessage();
  readonly #scan = new PropertyScan();
  readonly #view = new RecordView();
  #timer: Timer | undefined;
  #timerAtMs = 0;
  #stopped = true;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers },
    store: Store,
    state: DelayState,
    topics: TopicTable,
    counters: Counters,
    batchMax: number,
  ) {
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#store = store;
    this.#state = state;
    this.#topics = topics;
    this.#counters = counters;
    this.#batchMax = batchMax;
  }

  start(): void {
    this.#stopped = false;
    for (const queue of this.#store.queues()) if (queue.topic === SCHEDULE_TOPIC) this.arrived(queue);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  /** A level's queue has grown. A level that knows its next due time need not look: later messages are due later. */
  arrived(queue: QueueRef): void {
    if (this.#stopped) return;
    const number = queue.queueId + 1;
    let level = this.#levels.get(number);
    if (level === undefined) this.#levels.set(number, (level = new Level(number, queue)));
    if (level.dueMs === undefined) this.#look(level);
  }

  #look(level: Level): void {
    const offset = this.#state.next(level.number);
    if (this.#stopped || level.isBusy || offset >= level.queue.maxOffset) return;
    level.isBusy = true;
    level.startLooking(this.#clock.now());
    this.#store.read(
      { queue: level.queue, offset, maxCount: this.#batchMax, maxBytes: BATCH_BYTES_MAX, tagMatches: level.isDue },
      (result) => this.#found(level, result),
    );
  }

  #found(level: Level, result: ReadResult): void {
    if (this.#stopped) return;
    if (result.status !== 'found' && result.status !== 'none-matched') {
      // Retention never passes an unfired message; were it so after a repair, go on behind the gap instead of waiting for ever.
      if (result.status === 'too-small') this.#state.skipTo(level.number, result.nextOffset);
      return this.#again(level, this.#clock.now() + RETRY_MS);
    }
    for (const chunk of result.chunks) {
      if (this.#fireAll(level, chunk)) continue;
      level.refused = true;
      break;
    }
    if (level.inFlight === 0) this.#batchDone(level);
  }

  /** Fires the records of a chunk; false when the store takes no more. */
  #fireAll(level: Level, chunk: Uint8Array): boolean {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at < bytes.length;) {
      const end = at + bytes.readInt32BE(at);
      if (
        !this.#fire(
          level,
          this.#view.move(bytes, at, end, bytes.readUInt32BE(at + 28) * 4294967296 + bytes.readUInt32BE(at + 32)),
        )
      )
        return false;
      at = end;
    }
    return true;
  }

  #fire(level: Level, record: RecordView): boolean {
    const scan = this.#scan.run(record.bytes, record.propertiesStart, record.propertiesEnd);
    const queueId = Math.max(0, scan.number(Slot.REAL_QUEUE));
    const name = scan.name(Slot.REAL_TOPIC);
    const topic = this.#topics.get(name) ?? this.#topics.put(topicConfig(name, queueId + 1));
    if (topic === undefined) return false;
    const m = this.#message;
    m.queue = topic.queues[queueId] ??= this.#store.queue(name, queueId);
    m.setFromRecord(record.bytes, record.at, record.end);
    m.tagsCode = scan.hash(Slot.TAGS);
    const bytesMax = this.#store.messageBytes(m) + this.#store.controlBytes(FIRED_BYTES);
    const outcome = this.#store.together(bytesMax, false, () => {
      this.#store.append(m, 'flush', NO_SINK, 0);
      this.#store.appendControl(
        ControlType.DELAYED_FIRED,
        CONTROL_VERSION,
        firedBody(level.number, record.queueOffset),
        'flush',
        this,
        level.number,
      );
    });
    if (outcome !== 'ok') return false;
    level.inFlight++;
    return true;
  }

  /** A `fired` record has come as far as the flush mode promises. */
  appended(number: number, outcome: AppendOutcome): void {
    const level = this.#levels.get(number)!;
    level.inFlight--;
    if (outcome === 'ok') this.#counters.delayedFired++;
    if (level.inFlight === 0) this.#batchDone(level);
  }

  #batchDone(level: Level): void {
    level.isBusy = false;
    if (level.refused) return this.#again(level, this.#clock.now() + RETRY_MS);
    if (level.nextDueMs !== undefined) return this.#again(level, level.nextDueMs);
    level.dueMs = undefined;
    this.#look(level);
  }

  #again(level: Level, atMs: number): void {
    level.isBusy = false;
    level.refused = false;
    level.dueMs = atMs;
    this.#arm(atMs);
  }

  /** One timer for all levels. It never sleeps longer than a second: the wall clock, by which messages are due, may be set. */
  #arm(atMs: number): void {
    if (this.#stopped || (this.#timer !== undefined && this.#timerAtMs <= atMs)) return;
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timerAtMs = atMs;
    const waitMs = Math.min(LONGEST_SLEEP_MS, Math.max(1, atMs - this.#clock.now()));
    this.#timer = this.#timers.after(waitMs, () => this.#tick());
  }

  #tick(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const level of this.#levels.values()) {
      if (level.dueMs === undefined) continue;
      if (level.dueMs <= nowMs) {
        level.dueMs = undefined;
        this.#look(level);
      }
      if (level.dueMs !== undefined) nextMs = Math.min(nextMs, level.dueMs);
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#arm(nextMs);
  }
}

class Level {
  readonly number: number;
  readonly queue: QueueRef;
  /** When to look again; undefined while looking and when nothing waits. */
  dueMs: number | undefined;
  isBusy = false;
  /** The store took no more of the present batch. */
  refused = false;
  inFlight = 0;
  /** Due time of the first message that was not due, if the look met one. */
  nextDueMs: number | undefined;
  #nowMs = 0;

  constructor(number: number, queue: QueueRef) {
    this.number = number;
    this.queue = queue;
  }

  startLooking(nowMs: number): void {
    this.#nowMs = nowMs;
    this.nextDueMs = undefined;
  }

  /** Says of each entry in turn whether it is due; nothing behind one that is not. */
  readonly isDue = (dueMs: number): boolean => {
    if (this.nextDueMs !== undefined) return false;
    if (dueMs <= this.#nowMs) return true;
    this.nextDueMs = dueMs;
    return false;
  };
}

const BATCH_BYTES_MAX = 1024 * 1024;
const LONGEST_SLEEP_MS = 1000;
/** Wait after the store took no more. */
const RETRY_MS = 200;
