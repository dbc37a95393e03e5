import { ByteReader, ByteWriter } from '../byte-pages.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import type { RecordView } from '../store/record-view.ts';
import type { Derived } from '../store/store-types.ts';
import { HALF_TOPIC, SCHEDULE_TOPIC } from '../topics/system-topics.ts';
import { isMarked, SequenceMark } from './sequence-mark.ts';
import { SequenceWindow, type Verdict } from './sequence-window.ts';

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
  readonly #mark = new SequenceMark();
  readonly #scan = new PropertyScan();
  #windows = 0;
  // The request judged last: what a live append takes over.
  #armed = false;
  #topic = '';
  #queueId = 0;
  #window: SequenceWindow | undefined;

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
    this.#window = this.#producers.get(mark.producer)?.queues.get(topic)?.get(queueId);
    const verdict = this.#window?.judge(mark.epoch, mark.sequence) ?? (mark.sequence === 0 ? 'new' : 'gap');
    this.#armed = verdict === 'new';
    return verdict;
  }

  /** The append after a `new` request was made, or refused. */
  settle(): void {
    this.#armed = false;
  }

  /** Of the request that was judged a duplicate: where its first record lies. */
  get queueOffset(): number {
    return this.#window!.queueOffset(this.#mark.sequence);
  }

  get position(): number {
    return this.#window!.position(this.#mark.sequence);
  }

  get storeTimestamp(): number {
    return this.#window!.storeTimestamp(this.#mark.sequence);
  }

  /** What was asked and what is known, for an answer that refuses. */
  describe(): string {
    const { producer, epoch, sequence } = this.#mark;
    const window = this.#window;
    const known = window === undefined ? 'nothing is known of it here' : `epoch ${window.epoch} is at ${window.next}`;
    return `request ${sequence} of epoch ${epoch} of producer ${producer} to ${this.#topic}:${this.#queueId}; ${known}`;
  }

  /** Producers and windows that are remembered. */
  get size(): { readonly producers: number; readonly windows: number } {
    return { producers: this.#producers.size, windows: this.#windows };
  }

  apply(record: RecordView, live: boolean): void {
    if (live) {
      if (!this.#armed) return;
      this.#armed = false;
      this.#note(record);
    } else if (!record.isControl && this.#isOriginal(record)) this.#note(record);
  }

  snapshot(): Uint8Array {
    const writer = new ByteWriter(4096).u16(SNAPSHOT_VERSION).u32(this.#producers.size);
    for (const [id, { heardMs, queues }] of this.#producers) {
      const windows = [...queues].flatMap(([topic, byId]) => [...byId].map(([queueId, window]) => ({ topic, queueId, window })));
      writer.text(id).i64(heardMs).u32(windows.length);
      for (const { topic, queueId, window } of windows) {
        writer.text(topic).u32(queueId).u32(window.epoch).i64(window.oldest).i64(window.next);
        for (let sequence = window.oldest; sequence < window.next; sequence++)
          writer.i64(window.queueOffset(sequence)).i64(window.position(sequence)).i64(window.storeTimestamp(sequence));
      }
    }
    return writer.view();
  }

  restore(bytes: Uint8Array): void {
    this.#producers.clear();
    this.#windows = 0;
    const reader = new ByteReader(bytes);
    if (reader.u16() !== SNAPSHOT_VERSION) throw new Error('producer sequences: snapshot of an unknown version');
    for (let left = reader.u32(); left > 0; left--) {
      const id = reader.text();
      const producer = newProducer(reader.i64());
      this.#producers.set(id, producer);
      for (let windows = reader.u32(); windows > 0; windows--) {
        const window = this.#add(producer, reader.text(), reader.u32());
        const epoch = reader.u32();
        const oldest = reader.i64();
        const next = reader.i64();
        for (let sequence = oldest; sequence < next; sequence++)
          window.note(epoch, sequence, reader.i64(), reader.i64(), reader.i64());
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
    this.#window = this.#producers.get(this.#mark.producer)?.queues.get(this.#topic)?.get(this.#queueId);
    return this.counts(this.#topic) && (isHeldBack || !scan.has(Slot.REAL_TOPIC));
  }

  #note(record: RecordView): void {
    const { producer: id, epoch, sequence } = this.#mark;
    const nowMs = record.storeTimestamp;
    let producer = this.#producers.get(id);
    const isDue = producer === undefined || nowMs - producer.heardMs >= TOUCH_MS || this.#window === undefined;
    if (producer === undefined || isDue) {
      this.#producers.delete(id);
      producer ??= newProducer(nowMs);
      producer.heardMs = nowMs;
      this.#producers.set(id, producer);
    }
    this.#window ??= this.#add(producer, this.#topic, this.#queueId);
    this.#window.note(epoch, sequence, record.queueOffset, record.position, nowMs);
    if (isDue) this.#forget(nowMs);
  }

  #add(producer: Producer, topic: string, queueId: number): SequenceWindow {
    let byId = producer.queues.get(topic);
    if (byId === undefined) producer.queues.set(topic, (byId = new Map()));
    const window = new SequenceWindow();
    byId.set(queueId, window);
    producer.windows++;
    this.#windows++;
    return window;
  }

  /** Who has been silent for too long goes, then who has been silent longest. */
  #forget(nowMs: number): void {
    const { sequenceProducersMax, sequenceWindowsMax, sequenceKeepMs } = this.#limits;
    for (const [id, { heardMs, windows }] of this.#producers) {
      const isTooMany = this.#producers.size > sequenceProducersMax || this.#windows > sequenceWindowsMax;
      if (heardMs > nowMs - sequenceKeepMs && !isTooMany) return;
      this.#producers.delete(id);
      this.#windows -= windows;
    }
  }
}

/**
 * Why a message that {@link isMarked} cannot be counted: it says of itself what only copies made by the broker say, or goes to any queue, so that
 * its repeat would go to another one. A sentence, or undefined.
 */
export function numberingFault(queueId: number, scan: PropertyScan): string | undefined {
  if (scan.has(Slot.REAL_TOPIC) || scan.has(Slot.REAL_QUEUE))
    return 'the message is illegal, one with TS_SEQ must not bear REAL_TOPIC or REAL_QID, which are the broker\'s own';
  return queueId < 0 ? 'the message is illegal, one with TS_SEQ must name its queue' : undefined;
}

interface Producer {
  /** Store time of its newest request, to the second. */
  heardMs: number;
  /** By topic, then by queue id. */
  readonly queues: Map<string, Map<number, SequenceWindow>>;
  windows: number;
}

function newProducer(heardMs: number): Producer {
  return { heardMs, queues: new Map(), windows: 0 };
}

const SNAPSHOT_VERSION = 1;
/** A producer moves in the order of forgetting at most so often: a message must not cost two changes of a Map. */
const TOUCH_MS = 1000;
const PERCENT = 37;
