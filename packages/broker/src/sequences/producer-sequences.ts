import { ByteReader, ByteWriter } from '../byte-pages.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import type { RecordView } from '../store/record-view.ts';
import type { Derived } from '../store/store-types.ts';
import { HALF_TOPIC, SCHEDULE_TOPIC } from '../topics/system-topics.ts';
import { isMarked, SequenceMark } from './sequence-mark.ts';
import { SequenceWindows, type Verdict } from './sequence-windows.ts';

export interface SequenceLimits {
  readonly sequenceProducersMax: number;
  readonly sequenceWindowsMax: number;
  readonly sequenceKeepMs: number;
}

/**
 * Which numbered requests are in the log: one window per producer and queue. A function of the log alone, also in what it forgets, so that a
 * restart judges as the broker before it did. A request counts from its append on, before it is durable: who repeats it waits
 * for the same bytes. Requests the store refuses are never in the log and leave no trace.
 *
 * Half and delayed messages count for the queue they are bound for. Copies that the broker makes (commits, fired delays, retries, dead letters)
 * carry their original's mark and do not count: they say where they were held back ({@link numberingFault} keeps senders from saying it).
 * Nor do retry and dead-letter topics, whose messages other clients copy whole.
 */
export class ProducerSequences implements Derived {
  readonly name = 'producer-sequences';
  readonly records = 'all';
  readonly interest = { firstProperty: 'TS_SEQ' };
  readonly #limits: SequenceLimits;
  /** Least recently heard of first, to the second. */
  readonly #producers = new Map<string, Producer>();
  readonly #numbers = new ProducerNumbers();
  readonly #windows = new SequenceWindows();
  /** Numbers of topics; a name that no window needs any more goes with the next restart. */
  readonly #topics = new Map<string, number>();
  readonly #mark = new SequenceMark();
  readonly #scan = new PropertyScan();
  // The request judged last: what a live append takes over.
  #armed = false;
  #topic = '';
  #queueId = 0;
  /** Row of its window; -1 when there is none. */
  #window = NONE;

  constructor(limits: SequenceLimits) {
    this.#limits = limits;
  }

  /** Whether a request to this topic that {@link isMarked} is judged. */
  counts(topic: string): boolean {
    return topic.charCodeAt(0) !== PERCENT;
  }

  /**
   * Judges a request by the block of properties of its first record, which {@link isMarked}. After `new` the next append notes the request;
   * {@link settle} ends that. After `duplicate` the place of the original can be asked for until the next call.
   */
  judge(bytes: Buffer, start: number, end: number, topic: string, queueId: number): Verdict | 'malformed' {
    const mark = this.#mark;
    if (!mark.read(bytes, start, end)) return 'malformed';
    this.#topic = topic;
    this.#queueId = queueId;
    this.#window = this.#find(mark.producer, topic, queueId);
    const isFirst = mark.sequence === 0 ? 'new' : 'gap';
    const verdict = this.#window === NONE ? isFirst : this.#windows.judge(this.#window, mark.epoch, mark.sequence);
    this.#armed = verdict === 'new';
    return verdict;
  }

  /** The append after a `new` request was made, or refused. */
  settle(): void {
    this.#armed = false;
  }

  /** Of the request that was judged a duplicate: where its first record lies. */
  get queueOffset(): number {
    return this.#windows.queueOffset(this.#window, this.#mark.sequence);
  }

  get position(): number {
    return this.#windows.position(this.#window, this.#mark.sequence);
  }

  get storeTimestamp(): number {
    return this.#windows.storeTimestamp(this.#window, this.#mark.sequence);
  }

  /** What was asked and what is known, for an answer that refuses. */
  describe(): string {
    const { producer, epoch, sequence } = this.#mark;
    const [row, windows] = [this.#window, this.#windows];
    const known = row === NONE ? 'nothing is known of it here' : `epoch ${windows.epoch(row)} is at ${windows.next(row)}`;
    return `request ${sequence} of epoch ${epoch} of producer ${producer} to ${this.#topic}:${this.#queueId}; ${known}`;
  }

  /** Producers and windows that are remembered. */
  get size(): { readonly producers: number; readonly windows: number } {
    return { producers: this.#producers.size, windows: this.#windows.size };
  }

  apply(record: RecordView, live: boolean): void {
    if (live) {
      if (!this.#armed) return;
      this.#armed = false;
      this.#note(record);
    } else if (!record.isControl && this.#isOriginal(record)) this.#note(record);
  }

  /**
   * u16 version  u32 topics: text  u32 producers: u32 number, i64 last heard of, text id  u32 pages: blob of rows of {@link SequenceWindows}
   * with these numbers.
   */
  snapshot(): Uint8Array {
    const bytes = this.#windows.byteLength + this.#producers.size * PRODUCER_BYTES + this.#topics.size * TOPIC_BYTES + 1024;
    const writer = new ByteWriter(bytes).u16(SNAPSHOT_VERSION).u32(this.#topics.size);
    for (const topic of this.#topics.keys()) writer.text(topic);
    writer.u32(this.#producers.size);
    for (const [id, { number, heardMs }] of this.#producers) writer.u32(number).i64(heardMs).text(id);
    const pages = this.#windows.views();
    writer.u32(pages.length);
    for (const page of pages) writer.blob(page);
    return writer.view();
  }

  restore(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes);
    const version = reader.u16();
    if (version === OLD_SNAPSHOT_VERSION) return this.#restoreOld(reader);
    if (version !== SNAPSHOT_VERSION) throw new Error('producer sequences: snapshot of an unknown version');
    const topics: string[] = [];
    for (let left = reader.u32(); left > 0; left--) topics.push(reader.text());
    const producers = new Map<number, Producer>();
    for (let left = reader.u32(); left > 0; left--) {
      const number = reader.u32();
      const producer = newProducer(this.#numbers.take(), reader.i64());
      producers.set(number, producer);
      this.#producers.set(reader.text(), producer);
    }
    const windows = this.#windows;
    for (let left = reader.u32(); left > 0; left--) {
      windows.load(reader.blob(), (row) => {
        const producer = producers.get(windows.producer(row));
        const topic = topics[windows.topic(row)];
        if (producer === undefined || topic === undefined) throw new Error('producer sequences: a window of nobody');
        windows.renumber(row, producer.number, this.#topicNumber(topic));
        connect(producer, topic, windows.queueId(row), row);
      });
    }
  }

  /** Producers one after the other, with their windows. */
  #restoreOld(reader: ByteReader): void {
    for (let left = reader.u32(); left > 0; left--) {
      const id = reader.text();
      const producer = newProducer(this.#numbers.take(), reader.i64());
      this.#producers.set(id, producer);
      for (let windows = reader.u32(); windows > 0; windows--) {
        const topic = reader.text();
        const queueId = reader.u32();
        const row = this.#windows.add(producer.number, this.#topicNumber(topic), queueId);
        connect(producer, topic, queueId, row);
        const epoch = reader.u32();
        const oldest = reader.i64();
        const next = reader.i64();
        for (let sequence = oldest; sequence < next; sequence++)
          this.#windows.note(row, epoch, sequence, reader.i64(), reader.i64(), reader.i64());
      }
    }
  }

  /** Reads the mark of a record of the log, and the queue it counts for; false when it does not count. */
  #isOriginal(record: RecordView): boolean {
    const { bytes, propertiesStart: start, propertiesEnd: end } = record;
    if (!isMarked(bytes, start, end) || !this.#mark.read(bytes, start, end)) return false;
    const scan = this.#scan.run(bytes, start, end);
    const stored = record.topic();
    const isHeldBack = stored === HALF_TOPIC || stored === SCHEDULE_TOPIC;
    this.#topic = isHeldBack ? scan.text(Slot.REAL_TOPIC) : stored;
    this.#queueId = isHeldBack ? scan.number(Slot.REAL_QUEUE) : record.queueId;
    this.#window = this.#find(this.#mark.producer, this.#topic, this.#queueId);
    return this.counts(this.#topic) && (isHeldBack || !scan.has(Slot.REAL_TOPIC));
  }

  #find(id: string, topic: string, queueId: number): number {
    return this.#producers.get(id)?.queues.get(topic)?.get(queueId) ?? NONE;
  }

  #note(record: RecordView): void {
    const { producer: id, epoch, sequence } = this.#mark;
    const nowMs = record.storeTimestamp;
    let producer = this.#producers.get(id);
    const isDue = producer === undefined || nowMs - producer.heardMs >= TOUCH_MS || this.#window === NONE;
    if (producer === undefined || isDue) {
      this.#producers.delete(id);
      producer ??= newProducer(this.#numbers.take(), nowMs);
      producer.heardMs = nowMs;
      this.#producers.set(id, producer);
    }
    if (this.#window === NONE) {
      this.#window = this.#windows.add(producer.number, this.#topicNumber(this.#topic), this.#queueId);
      connect(producer, this.#topic, this.#queueId, this.#window);
    }
    this.#windows.note(this.#window, epoch, sequence, record.queueOffset, record.position, nowMs);
    if (isDue) this.#forget(nowMs);
  }

  #topicNumber(topic: string): number {
    let number = this.#topics.get(topic);
    if (number === undefined) this.#topics.set(topic, (number = this.#topics.size));
    return number;
  }

  /** Who has been silent for too long goes, then who has been silent longest. */
  #forget(nowMs: number): void {
    const { sequenceProducersMax, sequenceWindowsMax, sequenceKeepMs } = this.#limits;
    for (const [id, { number, heardMs, queues }] of this.#producers) {
      const isTooMany = this.#producers.size > sequenceProducersMax || this.#windows.size > sequenceWindowsMax;
      if (heardMs > nowMs - sequenceKeepMs && !isTooMany) return;
      this.#producers.delete(id);
      this.#numbers.free(number);
      for (const byId of queues.values()) for (const row of byId.values()) this.#windows.remove(row);
    }
  }
}

/**
 * Why a message that {@link isMarked} cannot be counted: it says of itself what only copies made by the broker say, or goes to any queue, so that
 * its repeat would go to another one. A sentence, or undefined.
 */
export function numberingFault(queueId: number, scan: PropertyScan): string | undefined {
  if (scan.has(Slot.REAL_TOPIC) || scan.has(Slot.REAL_QUEUE))
    return "the message is illegal, one with TS_SEQ must not bear REAL_TOPIC or REAL_QID, which are the broker's own";
  return queueId < 0 ? 'the message is illegal, one with TS_SEQ must name its queue' : undefined;
}

interface Producer {
  /** For its windows' rows. */
  readonly number: number;
  /** Store time of its newest request, to the second. */
  heardMs: number;
  /** Rows by topic, then by queue id. */
  readonly queues: Map<string, Map<number, number>>;
}

function newProducer(number: number, heardMs: number): Producer {
  return { number, heardMs, queues: new Map() };
}

function connect(producer: Producer, topic: string, queueId: number, row: number): void {
  let byId = producer.queues.get(topic);
  if (byId === undefined) producer.queues.set(topic, (byId = new Map()));
  byId.set(queueId, row);
}

/** Numbers of producers, the freed ones first. */
class ProducerNumbers {
  readonly #freed: number[] = [];
  #next = 0;

  take(): number {
    return this.#freed.pop() ?? this.#next++;
  }

  free(number: number): void {
    this.#freed.push(number);
  }
}

/** No row. */
const NONE = -1;
/** Bytes of a producer in a snapshot, and of a topic, roughly. */
const PRODUCER_BYTES = 48;
const TOPIC_BYTES = 64;
const SNAPSHOT_VERSION = 2;
/** Window by window, no rows. */
const OLD_SNAPSHOT_VERSION = 1;
/** A producer moves in the order of forgetting at most so often: a message must not cost two changes of a Map. */
const TOUCH_MS = 1000;
const PERCENT = 37;
