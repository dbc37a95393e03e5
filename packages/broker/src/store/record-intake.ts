import { CONTROL_HEAD_BYTES, CONTROL_MAGIC } from './control-records.ts';
import { GROUP_HEADER_BYTES, GROUP_RECORDS_MAX, type FoundGroup } from './group-header.ts';
import { Interests } from './interests.ts';
import { recordsFault, type GroupSink } from './log-scan.ts';
import type { QueueRef } from './queue-ref.ts';
import { SlotTable } from './queue-slots.ts';
import type { QueueTable } from './queue-table.ts';
import { MESSAGE_AT, MESSAGE_BYTES_MIN, MESSAGE_MAGIC_V1, MESSAGE_MAGIC_V2, RecordView } from './record-view.ts';
import type { Segment } from './segment.ts';
import { StoreError, type Derived } from './store-types.ts';
import { tagsCodeAt } from './tags-code.ts';

export interface IntakeParts {
  readonly queues: QueueTable;
  readonly derived: readonly Derived[];
  /** The tag field of a record's queue entry. */
  readonly tagsCodeOf: (record: RecordView) => number;
  /** Topics for which that is not the hash of the TAGS property; undefined: it may be so for any. */
  readonly tagsCodeTopics: readonly string[] | undefined;
  /** Newest store time seen, ms. */
  readonly sawTime: (ms: number) => void;
}

/**
 * Takes the records of a scanned log into the queues and tells the derived parts of those that are news to them. A start reads
 * millions of records here, so an ordinary message costs two passes over its frame by words, an entry in its queue's typed
 * arrays, and no call into a part, view, text or object.
 */
export class RecordIntake implements GroupSink {
  readonly #parts: IntakeParts;
  readonly #slots: SlotTable;
  readonly #view = new RecordView();
  /** Where topics begin and end, of each record of the present group; 0 for a control record. */
  readonly #topics = new Int32Array(2 * GROUP_RECORDS_MAX);
  readonly #hearAll: readonly Derived[];
  /** Sysflag bits with which a message is told. */
  readonly #toldBits: number;
  /** First four bytes of the properties with which a message is told; 0: none are. */
  readonly #toldWord: number;
  /** Records from here on are news to the derived parts and move the queues' next offsets. */
  newsFrom = 0;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    this.#hearAll = parts.derived.filter((part) => part.records === 'all');
    const interests = new Interests(this.#hearAll);
    this.#toldBits = interests.sysFlagBits;
    this.#toldWord = interests.firstWord;
    const { tagsCodeTopics } = parts;
    this.#slots = new SlotTable(
      parts.queues,
      (topic) => interests.isTopicTold(topic),
      (topic) => tagsCodeTopics?.includes(topic) ?? true,
    );
  }

  group(bytes: Buffer, view: DataView, at: number, group: FoundGroup, segment: Segment): string | undefined {
    if (!this.#walk(view, at + GROUP_HEADER_BYTES, group.position - at, group)) {
      return recordsFault(bytes, at, group) ?? 'group that does not hold together';
    }
    this.#take(bytes, view, at + GROUP_HEADER_BYTES, group.position - at, group, segment);
    return undefined;
  }

  /** Whether all frames hold together ({@link recordsFault} says why not): a group counts as a whole or not at all. Notes the topics. */
  #walk(view: DataView, first: number, base: number, group: FoundGroup): boolean {
    const topics = this.#topics;
    const { recordsEnd } = group;
    const count = 2 * group.records;
    let record = first;
    for (let note = 0; note < count; note += 2) {
      const left = recordsEnd - record;
      if (left < CONTROL_HEAD_BYTES) return false;
      const size = view.getInt32(record);
      if (size < CONTROL_HEAD_BYTES || size > left) return false;
      const magic = view.getInt32(record + 4);
      if (magic === CONTROL) {
        topics[note] = 0;
        record += size;
        continue;
      }
      if ((magic !== MESSAGE_V1 && magic !== MESSAGE_V2) || size < MESSAGE_BYTES_MIN) return false;
      if (i64(view, record + MESSAGE_AT.physicalOffset) !== base + record) return false;
      const end = record + size;
      const sysFlag = view.getInt32(record + MESSAGE_AT.sysFlag);
      const bodyStart =
        record +
        BODY_AT +
        ((sysFlag & BORN_HOST_IPV6) === 0 ? 0 : IPV6_MORE) +
        ((sysFlag & STORE_HOST_IPV6) === 0 ? 0 : IPV6_MORE);
      if (bodyStart > end) return false;
      const bodyBytes = view.getInt32(bodyStart - 4);
      if (bodyBytes < 0 || bodyBytes > end - bodyStart - 2) return false;
      const bodyEnd = bodyStart + bodyBytes;
      let topicStart = bodyEnd + 1;
      let topicEnd = topicStart;
      if (magic === MESSAGE_V1) topicEnd += view.getUint8(bodyEnd);
      else {
        topicStart++;
        topicEnd = topicStart + view.getUint16(bodyEnd);
      }
      if (topicEnd + 2 > end || topicEnd + 2 + view.getUint16(topicEnd) !== end) return false;
      topics[note] = topicStart;
      topics[note + 1] = topicEnd;
      record = end;
    }
    return record === recordsEnd;
  }

  #take(bytes: Buffer, view: DataView, first: number, base: number, group: FoundGroup, segment: Segment): void {
    const { newsFrom } = this;
    const topics = this.#topics;
    const slots = this.#slots;
    const toldBits = this.#toldBits;
    const toldWord = this.#toldWord;
    const segmentBase = segment.base;
    const count = 2 * group.records;
    let lastMs = -1;
    let newestMs = -1;
    let record = first;
    for (let note = 0; note < count; note += 2) {
      const size = view.getInt32(record);
      const end = record + size;
      const position = base + record;
      const isNews = position >= newsFrom;
      const topicStart = topics[note]!;
      if (topicStart === 0) {
        if (isNews) this.#tell(this.#parts.derived, bytes, record, end, position);
        record = end;
        continue;
      }
      const topicEnd = topics[note + 1]!;
      const slot = slots.of(bytes, view, topicStart, topicEnd, view.getInt32(record + MESSAGE_AT.queueId));
      const { queue } = slot;
      const propertiesStart = topicEnd + 2;
      const tagsCode = slot.asksTags
        ? this.#parts.tagsCodeOf(this.#view.move(bytes, record, end, position))
        : tagsCodeAt(bytes, view, propertiesStart, end);
      let run = slot.run;
      if (run === undefined || run.segmentBase !== segmentBase) {
        const queueOffset = i64(view, record + MESSAGE_AT.queueOffset);
        slot.run = run = queue.entries.runOf(segmentBase, queueOffset, segment.size);
      }
      run.push(position, size, tagsCode);
      const sysFlag = view.getInt32(record + MESSAGE_AT.sysFlag);
      lastMs = i64(view, record + STORED_AT + ((sysFlag & BORN_HOST_IPV6) === 0 ? 0 : IPV6_MORE));
      if (lastMs > newestMs) newestMs = lastMs;
      if (isNews) {
        const queueOffset = i64(view, record + MESSAGE_AT.queueOffset);
        if (queueOffset !== queue.nextOffset) throw outOfOrder(position, queueOffset, queue);
        queue.nextOffset = queueOffset + 1;
        if (
          slot.isTold ||
          (sysFlag & toldBits) !== 0 ||
          (end - propertiesStart >= 4 && view.getInt32(propertiesStart) === toldWord)
        )
          this.#tell(this.#hearAll, bytes, record, end, position);
      }
      record = end;
    }
    if (lastMs < 0) return;
    segment.newestMs = lastMs;
    this.#parts.sawTime(newestMs);
  }

  #tell(parts: readonly Derived[], bytes: Buffer, at: number, end: number, position: number): void {
    this.#view.move(bytes, at, end, position);
    for (const part of parts) part.apply(this.#view, false);
  }
}

function i64(view: DataView, at: number): number {
  return view.getInt32(at) * 4294967296 + view.getUint32(at + 4);
}

function outOfOrder(position: number, queueOffset: number, queue: QueueRef): StoreError {
  const place = `${queue.topic}:${queue.queueId}`;
  return new StoreError(
    'refused',
    `R3: the record at ${position} has offset ${queueOffset} in ${place}, expected ${queue.nextOffset}`,
    'R3',
  );
}

const CONTROL = CONTROL_MAGIC | 0;
const MESSAGE_V1 = MESSAGE_MAGIC_V1 | 0;
const MESSAGE_V2 = MESSAGE_MAGIC_V2 | 0;
const BORN_HOST_IPV6 = 0x10;
const STORE_HOST_IPV6 = 0x20;
/** So many bytes an IPv6 address is longer. */
const IPV6_MORE = 12;
/** Places of the store time and of the body behind IPv4 addresses. */
const STORED_AT = 56;
const BODY_AT = 88;
