/**
 * Gathers records into batches, one line of batches per queue, within the memory of a {@link BufferPool}. Appending is one
 * synchronous stretch: encode into the open batch, or into a new one. No memory is a plain answer (`false`): who has to wait is
 * {@link WaitingSends}' business, what goes out when is the sender's.
 *
 * A batch closes when it has no room for the next record, when a record cannot share it (delayed, compressed, half, another born
 * timestamp), or when the sender takes it. Nothing here looks at a clock.
 */
import type { BufferPool } from './buffer-pool.ts';
import { type Lane, ProducerBatch, type SendDone } from './producer-batch.ts';
import type { RecordEncoder } from './record-encoder.ts';
import type { ProducerRecord, SendMarks } from './record.ts';

export interface AccumulatorLimits {
  /** Bytes of a full batch; 0: every record travels alone. */
  readonly batchSizeBytes: number;
}

export class RecordAccumulator {
  /** Lanes with at least one batch that is not in flight, each once. */
  lanes: Lane[] = [];
  readonly #encoder: RecordEncoder;
  readonly #pool: BufferPool;
  readonly #limits: AccumulatorLimits;
  #sequence = 0;
  #records = 0;

  constructor(encoder: RecordEncoder, pool: BufferPool, limits: AccumulatorLimits) {
    this.#encoder = encoder;
    this.#pool = pool;
    this.#limits = limits;
  }

  /** Records appended and not yet completed. */
  get records(): number {
    return this.#records;
  }

  /**
   * Adds the record that the encoder has just prepared. False: there is no memory for it now.
   * `pinned`: its queue was chosen by its key or its caller.
   */
  append(
    lane: Lane,
    record: ProducerRecord,
    marks: SendMarks | undefined,
    pinned: boolean,
    done: SendDone,
    nowMs: number,
    wallMs: number,
  ): boolean {
    const encoder = this.#encoder;
    const single = encoder.single || this.#limits.batchSizeBytes === 0;
    let batch = lane.open;
    if (batch !== undefined && !this.#mayJoin(batch, single, record.timestamp)) {
      batch.closed = true;
      batch = undefined;
    }
    if (batch === undefined) {
      const buffer = this.#pool.borrow(encoder.boundBytes);
      if (buffer === undefined) return false;
      const born = record.timestamp ?? wallMs;
      batch = new ProducerBatch(lane, this.#sequence++, buffer, nowMs, born, single, encoder.sysFlag, marks);
      lane.batches.push(batch);
      this.list(lane);
    }
    const end = encoder.write(record, marks, wallMs, batch.buffer, batch.end);
    batch.add(done, encoder.idPrefix, encoder.idLow, end);
    if (pinned) batch.pinned = true;
    if (single) batch.closed = true;
    this.#records++;
    return true;
  }

  /** Makes sure that the sender will look at a lane. */
  list(lane: Lane): void {
    if (lane.listed) return;
    lane.listed = true;
    this.lanes.push(lane);
  }

  /** Puts a batch that was not stored back in front of its lane. */
  requeue(batch: ProducerBatch): void {
    batch.lane.insert(batch);
    this.list(batch.lane);
  }

  /** Ends a batch's life: its buffer is free again. Its callbacks have been or are about to be called. */
  release(batch: ProducerBatch): void {
    this.#records -= batch.count;
    this.#pool.return(batch.buffer);
    batch.buffer = EMPTY;
  }

  #mayJoin(batch: ProducerBatch, single: boolean, timestamp: number | undefined): boolean {
    if (single || (timestamp !== undefined && timestamp !== batch.bornTimestamp)) return false;
    const needBytes = batch.end + this.#encoder.boundBytes;
    return needBytes <= batch.buffer.length || this.#grow(batch, needBytes);
  }

  #grow(batch: ProducerBatch, needBytes: number): boolean {
    if (needBytes > this.#limits.batchSizeBytes) return false;
    const larger = this.#pool.borrow(needBytes);
    if (larger === undefined) return false;
    batch.buffer.copy(larger, 0, 0, batch.end);
    this.#pool.return(batch.buffer);
    batch.buffer = larger;
    return true;
  }
}

const EMPTY = Buffer.alloc(0);
