/**
 * Records of one queue that travel in one request: their bytes in a borrowed buffer, their callbacks and ids in parallel arrays, so
 * that a record costs no object here.
 *
 * States: open (records may join) → closed (waits for its turn) → in flight → done. A batch whose answer says "not stored" goes
 * from in flight back to closed. The buffer belongs to the batch until done.
 */
import type { SendError } from '../errors.ts';
import type { QueueLane } from './queue-lane.ts';
import { type BatchAnswer, SendReceipt } from './receipt.ts';
import type { SendMarks } from './record.ts';

/** The line of batches in front of one queue. */
export type Lane = QueueLane<ProducerBatch>;

/** Told once per record: an error, or a receipt. Must not throw; what it throws is reported and dropped. */
export type SendDone = (error: SendError | undefined, receipt: SendReceipt) => void;

export class ProducerBatch {
  lane: Lane;
  /** Ascends with creation; the order of batches in a lane. */
  readonly sequence: number;
  buffer: Buffer;
  /** Bytes used. */
  end = 0;
  closed = false;
  /** Monotonic ms of its first record; its delivery time-out runs from here. */
  readonly createdMs: number;
  /** Monotonic ms before which a repeated attempt must not start. */
  notBeforeMs = 0;
  attempts = 0;
  readonly bornTimestamp: number;
  /** It travels as a single message with this sysFlag. */
  readonly single: boolean;
  readonly sysFlag: number;
  readonly marks: SendMarks | undefined;
  /** A key or the caller chose the queue: no retry moves it elsewhere. */
  pinned = false;
  /** Called once its callbacks have been; set by a flush that waits for it. */
  ended: (() => void) | undefined;
  dones: SendDone[] = NONE;
  idPrefixes: string[] = NONE;
  idLows: number[] = NONE;

  constructor(
    lane: Lane,
    sequence: number,
    buffer: Buffer,
    createdMs: number,
    bornTimestamp: number,
    single: boolean,
    sysFlag: number,
    marks: SendMarks | undefined,
  ) {
    this.lane = lane;
    this.sequence = sequence;
    this.buffer = buffer;
    this.createdMs = createdMs;
    this.bornTimestamp = bornTimestamp;
    this.single = single;
    this.sysFlag = sysFlag;
    this.marks = marks;
  }

  get count(): number {
    return this.dones.length;
  }

  /** Notes the record whose element has just been written up to `end`. */
  add(done: SendDone, idPrefix: string, idLow: number, end: number): void {
    if (this.end === 0) {
      // Arrays made with their first element hold just that: a batch of one is common, and an empty array's first push takes 17 places.
      this.dones = [done];
      this.idPrefixes = [idPrefix];
      this.idLows = [idLow];
    } else {
      this.dones.push(done);
      this.idPrefixes.push(idPrefix);
      this.idLows.push(idLow);
    }
    this.end = end;
  }

  /** Calls every record's callback, in the order of their sends. */
  succeed(answer: BatchAnswer, report: (thrown: unknown) => void): void {
    const { dones, idPrefixes, idLows } = this;
    for (let i = 0; i < dones.length; i++) {
      try {
        dones[i]!(undefined, new SendReceipt(answer, i, idPrefixes[i]!, idLows[i]!));
      } catch (thrown) {
        report(thrown);
      }
    }
  }

  fail(error: SendError, report: (thrown: unknown) => void): void {
    for (const done of this.dones) callDone(done, error, report);
  }
}

/** Stands in until the first record; never written to. */
const NONE: never[] = [];

/** Tells one caller of a failure. */
export function callDone(done: SendDone, error: SendError, report: (thrown: unknown) => void): void {
  try {
    done(error, undefined as unknown as SendReceipt);
  } catch (thrown) {
    report(thrown);
  }
}
