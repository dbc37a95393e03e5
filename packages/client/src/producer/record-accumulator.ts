/**
 * Gathers records into batches, one line of batches per queue, within the memory of a {@link BufferPool}. Appending is one
 * synchronous stretch: encode into the open batch, or into a new one. No memory is a plain answer (`false`): who has to wait is
 * {@link WaitingSends}' business, what goes out when is the sender's.
 *
 * A record that can share a request becomes an element of a batch; one that cannot (batches are off, or it is delayed, compressed, a half)
 * becomes a finished frame in a run of such. A batch closes when it has no room for the next record, when a record of the other form
 * or of another time comes (one that is named, or none where the batch has such), or when the sender takes it. Nothing here looks at a clock.
 */
import { viewOf } from '@tallystick/base';
import { SendFrames } from '@tallystick/remoting';
import type { BufferPool } from './buffer-pool.ts';
import { type Lane, ProducerBatch, type SendDone } from './producer-batch.ts';
import type { RecordEncoder } from './record-encoder.ts';
import type { ProducerRecord, SendMarks } from './record.ts';
import { SEQUENCE_BYTES } from './record-properties.ts';
import type { SendRequest } from './send-request.ts';

export interface AccumulatorLimits {
  /** Bytes of a full batch; 0: every record travels alone. */
  readonly batchSizeBytes: number;
  /** A run holds no more frames than may be in flight. */
  readonly maxInFlightPerQueue: number;
  readonly maxInFlightMessages: number;
  /** Requests bear numbers: they leave room for them, and do not come in runs. */
  readonly idempotence: boolean;
}

/** Told while records are appended. Must call nobody back. */
export interface AccumulatorOwner {
  /** A batch of this lane is full, or of no special lane, many frames wait: sending need not wait for the end of the turn. */
  full(lane: Lane | undefined): void;
  /** There was no memory for a record. */
  exhausted(): void;
}

/** Bytes of a full run: what one write to a socket may well hold. */
const RUN_BYTES = 32 * 1024;
/** Frames appended since the last round, in bytes, at which it is time for another. */
const FRAMES_WAIT_BYTES = 48 * 1024;
/** Frames of a run: their opaques are consecutive, so a run should be small beside what may be in flight. */
const RUN_FRAMES_MAX = 512;

/** The size of buffers worth keeping for a producer with this batch size. */
export function usualBufferBytes(batchSizeBytes: number): number {
  return Math.max(batchSizeBytes, RUN_BYTES);
}

export class RecordAccumulator {
  /** Lanes with at least one batch that is not in flight, each once. */
  lanes: Lane[] = [];
  owner: AccumulatorOwner | undefined;
  readonly #encoder: RecordEncoder;
  readonly #pool: BufferPool;
  readonly #batchSizeBytes: number;
  readonly #runFramesMax: number;
  readonly #numbered: boolean;
  readonly #request: SendRequest;
  #sequence = 0;
  #records = 0;
  #framesWaitBytes = 0;

  constructor(encoder: RecordEncoder, pool: BufferPool, limits: AccumulatorLimits, request: SendRequest) {
    this.#encoder = encoder;
    this.#pool = pool;
    this.#batchSizeBytes = limits.batchSizeBytes;
    this.#runFramesMax = Math.min(RUN_FRAMES_MAX, limits.maxInFlightPerQueue, limits.maxInFlightMessages);
    this.#numbered = limits.idempotence;
    this.#request = request;
  }

  /** Records appended and not yet completed. */
  get records(): number {
    return this.#records;
  }

  /**
   * Adds the record that the encoder has just prepared. False: there is no memory for it now. Throws a SendError, and nothing has
   * changed, when the process has none at all.
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
    const born = record.timestamp ?? wallMs;
    let frames = this.#framesFor(lane, marks, born);
    let needBytes = frames === undefined ? encoder.boundBytes : encoder.frameBoundBytes(frames);
    if (needBytes > this.#pool.totalBytes) {
      // A header in front of it would be too much for all memory: as an element it is smaller, and goes alone.
      frames = undefined;
      needBytes = encoder.boundBytes;
    }
    let batch = lane.open;
    if (batch !== undefined && !this.#mayJoin(batch, frames, needBytes, record.timestamp)) {
      this.#close(batch);
      batch = undefined;
    }
    if (batch === undefined) {
      if (this.#numbered) needBytes += SEQUENCE_BYTES;
      const buffer = this.#pool.borrowUpTo(needBytes, lane.usualBytes);
      if (buffer === undefined) {
        this.owner?.exhausted();
        return false;
      }
      const single = encoder.single || this.#batchSizeBytes === 0;
      batch = new ProducerBatch(lane, this.#sequence++, buffer, nowMs, born, frames, single, encoder.sysFlag, marks);
      batch.bornIsNamed = record.timestamp !== undefined;
      lane.batches.push(batch);
      if (!lane.listed) this.list(lane);
    }
    if (pinned) batch.pinned = true;
    this.#records++;
    if (frames === undefined) {
      const end = encoder.write(record, wallMs, batch.buffer, batch.view, batch.end, this.#numbered && batch.count === 0);
      batch.add(done, encoder.idPrefix, encoder.idLow, end);
      if (batch.single) batch.closed = true;
    } else this.#addFrame(batch, frames, record, done, born, wallMs);
    return true;
  }

  /** Makes sure that the sender will look at a lane. */
  list(lane: Lane): void {
    if (lane.listed) return;
    lane.listed = true;
    this.lanes.push(lane);
  }

  /** A round of sending begins. */
  roundBegins(): void {
    this.#framesWaitBytes = 0;
  }

  /** Puts a batch that was not stored back in front of its lane. */
  requeue(batch: ProducerBatch): void {
    batch.lane.insert(batch);
    this.list(batch.lane);
  }

  /** Puts pieces in the place of a batch, which is done; what was charged for it is charged for them. */
  replace(batch: ProducerBatch, pieces: readonly ProducerBatch[]): void {
    batch.buffer = EMPTY;
    for (const piece of pieces) batch.lane.insert(piece);
    this.list(batch.lane);
  }

  /** Moves a batch that is in no lane to another one. False: its frames would be longer there, for which there is no memory. */
  move(batch: ProducerBatch, to: Lane): boolean {
    if (batch.frames !== undefined && !this.#reframe(batch, batch.frames, to)) return false;
    batch.lane = to;
    return true;
  }

  /** One record of a run has its verdict. */
  settled(): void {
    this.#records--;
  }

  /** Ends a batch's life: its buffer is free again. The callbacks that are left are about to be called. */
  release(batch: ProducerBatch): void {
    this.#records -= batch.left;
    if (batch.pooled) this.#pool.return(batch.buffer);
    else this.#pool.recharge(batch.chargedBytes, 0);
    batch.buffer = EMPTY;
  }

  /** Makes a run's frames anew for another lane, in memory of their own for which the pool's account stays charged. */
  #reframe(batch: ProducerBatch, from: SendFrames, to: Lane): boolean {
    const frames = this.#request.frames(to, from.sysFlag);
    const bytes = batch.end + batch.count * Math.max(0, frames.fixedBytes - from.fixedBytes);
    if (!this.#pool.recharge(batch.pooled ? batch.buffer.length : batch.chargedBytes, bytes)) return false;
    let into: Buffer;
    try {
      into = Buffer.allocUnsafeSlow(bytes);
    } catch {
      this.#pool.recharge(bytes, batch.pooled ? batch.buffer.length : batch.chargedBytes);
      return false;
    }
    batch.end = frames.rewrite(from, batch.buffer, batch.end, into);
    batch.pooled = false;
    batch.chargedBytes = bytes;
    batch.buffer = into;
    batch.frames = frames;
    return true;
  }

  #addFrame(
    batch: ProducerBatch,
    frames: SendFrames,
    record: ProducerRecord,
    done: SendDone,
    born: number,
    wallMs: number,
  ): void {
    const encoder = this.#encoder;
    const start = batch.end;
    const end = encoder.writeFrame(frames, record, born, wallMs, batch.buffer, batch.view, start);
    batch.add(done, encoder.idPrefix, encoder.idLow, end);
    this.#framesWaitBytes += end - start;
    if (this.#framesWaitBytes < FRAMES_WAIT_BYTES) return;
    this.#framesWaitBytes = 0;
    this.owner?.full(undefined);
  }

  /** The template for a record that leaves as a single send and needs nothing a template does not know. */
  #framesFor(lane: Lane, marks: SendMarks | undefined, born: number): SendFrames | undefined {
    const encoder = this.#encoder;
    if (this.#batchSizeBytes !== 0 && !encoder.single) return undefined;
    if (this.#numbered || !SendFrames.canCarry(born)) return undefined;
    if (marks !== undefined && (marks.reconsumeTimes !== 0 || marks.maxReconsumeTimes !== undefined)) return undefined;
    for (const frames of lane.frames) if (frames.sysFlag === encoder.sysFlag) return frames;
    return this.#request.frames(lane, encoder.sysFlag);
  }

  #mayJoin(batch: ProducerBatch, frames: SendFrames | undefined, needBytes: number, timestamp: number | undefined): boolean {
    if (batch.frames !== frames) return false;
    if (frames !== undefined) {
      if (batch.count >= this.#runFramesMax) return false;
    } else if (this.#encoder.single) return false;
    else if (timestamp === undefined ? batch.bornIsNamed : timestamp !== batch.bornTimestamp) return false;
    const bytes = batch.end + needBytes;
    return bytes <= batch.buffer.length || this.#grow(batch, bytes, frames === undefined ? this.#batchSizeBytes : RUN_BYTES);
  }

  #grow(batch: ProducerBatch, needBytes: number, maxBytes: number): boolean {
    if (needBytes > maxBytes) return false;
    const larger = this.#pool.borrowIfAny(needBytes);
    if (larger === undefined) return false;
    larger.set(batch.buffer.subarray(0, batch.end), 0);
    this.#pool.return(batch.buffer);
    batch.buffer = larger;
    batch.view = viewOf(larger);
    return true;
  }

  #close(batch: ProducerBatch): void {
    batch.closed = true;
    this.owner?.full(batch.lane);
  }
}

const EMPTY = Buffer.alloc(0);
