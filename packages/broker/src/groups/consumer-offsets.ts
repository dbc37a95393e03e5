import type { Turn } from '@tallystick/base';
import { ByteReader, ByteWriter } from '../byte-pages.ts';
import type { Journal } from '../journal.ts';
import { ControlType } from '../store/control-records.ts';
import type { AckLevel, AppendOutcome, Derived } from '../store/store-types.ts';
import type { RecordView } from '../store/record-view.ts';

/**
 * How far each group has read each queue. A new value counts at once in memory and reaches the log at the end of the turn, one
 * record per (group, queue) however often it moved. Who wants to know that it lasts, an answered update and every read, waits
 * for the sync that covers it: an offset that was shown and then lost would hand out messages twice without reason, or worse,
 * be taken for the truth by somebody who deletes what is before it. A one-way update waits for nothing.
 *
 *   clean      the log holds the value, synced
 *   dirty      newer than the log; a record follows at the end of the turn
 *   in flight  the record is appended, its sync is not back
 */
export class ConsumerOffsets implements Derived {
  readonly name = 'consumer-offsets';
  readonly records = 'control';
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #journal: Journal;
  readonly #turn: Turn;
  readonly #writer = new ByteWriter();
  #dirty: Entry[] = [];

  constructor(journal: Journal, turn: Turn) {
    this.#journal = journal;
    this.#turn = turn;
  }

  /**
   * Moves a value on; it never goes back, because the late commit of a member that has handed its queue over must not undo a newer
   * one. `done` is called when the value (or a newer one) is durable; 'full' and 'failed' as the store says.
   */
  update(group: string, topic: string, queueId: number, offset: number, done?: OffsetDone): void {
    const entry = this.#entry(group, topic, queueId);
    if (offset > entry.offset) {
      entry.offset = offset;
      this.#mark(entry);
    }
    if (done !== undefined) this.#whenDurable(entry, done);
  }

  /** The value once it is durable; undefined (at once) when there is none. */
  query(group: string, topic: string, queueId: number, done: (outcome: AppendOutcome, offset: number | undefined) => void): void {
    const entry = this.#entries.get(group)?.get(`${topic}@${queueId}`);
    if (entry === undefined || entry.offset < 0) done('ok', undefined);
    else this.#whenDurable(entry, done);
  }

  /** The value as it is in memory, durable or not; -1 when there is none. */
  peek(group: string, topic: string, queueId: number): number {
    return this.#entries.get(group)?.get(`${topic}@${queueId}`)?.offset ?? -1;
  }

  /** Groups that have an offset in a topic. */
  groupsOf(topic: string): readonly string[] {
    const groups: string[] = [];
    for (const [group, entries] of this.#entries) {
      for (const entry of entries.values()) {
        if (entry.topic !== topic) continue;
        groups.push(group);
        break;
      }
    }
    return groups;
  }

  /** All offsets of a group in memory. */
  *of(group: string): Generator<{ readonly topic: string; readonly queueId: number; readonly offset: number }> {
    for (const { topic, queueId, offset } of this.#entries.get(group)?.values() ?? []) yield { topic, queueId, offset };
  }

  knows(group: string): boolean {
    return this.#entries.has(group);
  }

  get groupCount(): number {
    return this.#entries.size;
  }

  groups(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Control body: text group, text topic, u32 queue, i64 offset. While newer values are on their way, memory holds the newest. */
  apply(record: RecordView): void {
    if (record.controlType !== ControlType.CONSUMER_OFFSETS) return;
    const reader = new ByteReader(record.body);
    const entry = this.#entry(reader.text(), reader.text(), reader.u32());
    entry.logged = reader.i64();
    if (!entry.dirty && entry.inFlight === 0) entry.offset = entry.logged;
  }

  snapshot(): Uint8Array {
    const logged = [...this.#entries.values()].flatMap((entries) => [...entries.values()]).filter((entry) => entry.logged >= 0);
    const writer = new ByteWriter(4096).u16(SNAPSHOT_VERSION).u32(logged.length);
    for (const entry of logged) writer.text(entry.group).text(entry.topic).u32(entry.queueId).i64(entry.logged);
    return writer.view();
  }

  restore(bytes: Uint8Array): void {
    this.#entries.clear();
    const reader = new ByteReader(bytes);
    if (reader.u16() !== SNAPSHOT_VERSION) throw new Error('consumer offsets: snapshot of an unknown version');
    for (let left = reader.u32(); left > 0; left--) {
      const entry = this.#entry(reader.text(), reader.text(), reader.u32());
      entry.offset = entry.logged = reader.i64();
    }
  }

  #entry(group: string, topic: string, queueId: number): Entry {
    let entries = this.#entries.get(group);
    if (entries === undefined) this.#entries.set(group, (entries = new Map()));
    const key = `${topic}@${queueId}`;
    let entry = entries.get(key);
    if (entry === undefined) {
      entry = {
        group,
        topic,
        queueId,
        offset: -1,
        logged: -1,
        dirty: false,
        inFlight: 0,
        syncing: false,
        synced: true,
        waiting: [],
      };
      entries.set(key, entry);
    }
    return entry;
  }

  #mark(entry: Entry): void {
    if (entry.dirty) return;
    entry.dirty = true;
    if (this.#dirty.push(entry) === 1) this.#turn.atEnd(() => this.#append());
  }

  #whenDurable(entry: Entry, done: OffsetDone): void {
    if (!entry.dirty && entry.inFlight === 0 && entry.synced) return done('ok', entry.offset);
    entry.waiting.push(done);
    // A one-way update in async mode is on its way without a sync: say it again, this time to be waited for.
    if (!entry.dirty && (entry.inFlight === 0 || !entry.syncing)) this.#mark(entry);
  }

  #append(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const entry of dirty) {
      entry.dirty = false;
      entry.inFlight++;
      const waiters = entry.waiting;
      entry.waiting = [];
      const level = waiters.length > 0 ? 'synced' : 'flush';
      entry.syncing = level === 'synced';
      const { group, topic, queueId, offset } = entry;
      const body = this.#writer.clear().text(group).text(topic).u32(queueId).i64(offset).view();
      this.#journal.control(ControlType.CONSUMER_OFFSETS, body, level, (outcome) =>
        this.#arrived(entry, offset, level, waiters, outcome),
      );
    }
  }

  /** Who waited is told the value of this very record: a newer one may not be durable yet. */
  #arrived(entry: Entry, offset: number, level: AckLevel, waiters: readonly OffsetDone[], outcome: AppendOutcome): void {
    entry.inFlight--;
    entry.synced = outcome === 'ok' && level === 'synced';
    for (const done of waiters) done(outcome, offset);
    if (entry.inFlight > 0 || entry.dirty) return;
    // Who asked while the record was in flight may be content with it; otherwise a new one is written.
    if (entry.waiting.length === 0) return;
    if (entry.synced) for (const done of entry.waiting.splice(0)) done('ok', entry.offset);
    else this.#mark(entry);
  }
}

export type OffsetDone = (outcome: AppendOutcome, offset: number) => void;

interface Entry {
  readonly group: string;
  readonly topic: string;
  readonly queueId: number;
  /** The newest value. */
  offset: number;
  /** The newest value in the log: what a snapshot holds. */
  logged: number;
  dirty: boolean;
  /** Records of this entry that the store has not answered. */
  inFlight: number;
  /** The newest record in flight asks for a sync. */
  syncing: boolean;
  /** The newest answered record is known to be synced. */
  synced: boolean;
  waiting: OffsetDone[];
}

const SNAPSHOT_VERSION = 1;
