/**
 * Records of one queue that leave together: their bytes in a borrowed buffer, their callbacks and ids in parallel arrays, so that a
 * record costs no object here. It comes in two forms:
 *
 *    elements   the body of one request: a batch request (320), or, with one element, a single send (310)
 *    frames     a run of finished single sends (310) that are written in one piece and answered one by one
 *
 * States: open (records may join) → closed (waits for its turn) → in flight → done. What an answer says was not stored goes from in
 * flight back to closed: the batch, or of a run the frames concerned. The buffer belongs to the batch until done; what goes out is a copy,
 * so that no late write can meet the next borrower's bytes.
 */
import { readI32, readU16, viewOf, writeI32, writeU16 } from '@tallystick/base';
import type { Frame, PeerError, ReplySink, SendFrames } from '@tallystick/remoting';
import type { SendError } from '../errors.ts';
import type { Connection } from '../peers.ts';
import type { BrokerOutcome } from './latency-table.ts';
import type { QueueLane } from './queue-lane.ts';
import { type BatchAnswer, SendReceipt } from './receipt.ts';
import type { SendMarks } from './record.ts';
import { SEQUENCE_BYTES } from './record-properties.ts';

/** The line of batches in front of one queue. */
export type Lane = QueueLane<ProducerBatch>;

/** Told once per record: an error, or a receipt. Must not throw; what it throws is reported and dropped. */
export type SendDone = (error: SendError | undefined, receipt: SendReceipt) => void;

/** Who has a batch in flight. */
export interface BatchFlight {
  /** A request's answer has come, or never will; `index`: of a run, which. */
  replied(batch: ProducerBatch, index: number, error: PeerError | undefined, reply: Frame): void;
  /** Whether the bytes are a plain acknowledgement, which `acknowledged` then takes. */
  reads(bytes: Buffer, at: number, end: number): boolean;
  acknowledged(batch: ProducerBatch, index: number): void;
}

export class ProducerBatch implements ReplySink {
  lane: Lane;
  /** Ascends with creation; the order of batches in a lane. */
  readonly sequence: number;
  buffer: Buffer;
  view: DataView;
  /** Whether the buffer is the pool's; if it is not, the bytes that the pool's account holds for it. */
  pooled = true;
  chargedBytes = 0;
  /** A piece of a batch that was too large; how much of the order of batches is its own. */
  isPiece = false;
  share = 1;
  /** The number its request bears towards the broker (idempotence); -1: none yet. */
  epoch = 0;
  number = -1;
  /** An earlier attempt may have been stored. */
  maybeStored = false;
  /** Bytes used. */
  end = 0;
  closed = false;
  /** Monotonic ms of its first record; its delivery time-out runs from here. */
  readonly createdMs: number;
  /** Monotonic ms before which a repeated attempt must not start, and of the last attempt. */
  notBeforeMs = 0;
  sentMs = 0;
  attempts = 0;
  readonly bornTimestamp: number;
  /** A record brought the time along: those that did not must not get it. */
  bornIsNamed = false;
  /** Of a run: what its frames are made with. */
  frames: SendFrames | undefined;
  /** Of elements: it travels as a single message, with this sysFlag. */
  readonly single: boolean;
  readonly sysFlag: number;
  readonly marks: SendMarks | undefined;
  /** A key or the caller chose the queue: no retry moves it elsewhere. */
  pinned = false;
  /** Called once its callbacks have been; set by a flush that waits for it. */
  ended: (() => void) | undefined;
  /** Records in it, and of these, without a verdict. */
  count = 0;
  left = 0;
  dones: (SendDone | undefined)[] = NONE;
  idLows: number[] = NONE;
  /** In flight: whose, over which connection, and where in the list of those. */
  flight: BatchFlight | undefined;
  connection: Connection | undefined;
  flightIndex = -1;
  /** Monotonic ms at which its callers are told that no answer came, while it still waits for one; and that this has happened. */
  abandonMs = Infinity;
  isAbandoned = false;
  /** The worst that happened to it in this flight. */
  worst: BrokerOutcome = 'answered';
  /** The answer that the last receipt was made with. */
  answer: BatchAnswer | undefined;
  /** Of a run: frames that are to be sent again, with the last reason why. */
  #refused: number[] = NONE;
  refusal: SendError | undefined;
  #idPrefix = '';
  #idPrefixes: string[] | undefined;

  constructor(
    lane: Lane,
    sequence: number,
    buffer: Buffer,
    createdMs: number,
    bornTimestamp: number,
    frames: SendFrames | undefined,
    single: boolean,
    sysFlag: number,
    marks: SendMarks | undefined,
  ) {
    this.lane = lane;
    this.sequence = sequence;
    this.buffer = buffer;
    this.view = viewOf(buffer);
    this.createdMs = createdMs;
    this.bornTimestamp = bornTimestamp;
    this.frames = frames;
    this.single = single;
    this.sysFlag = sysFlag;
    this.marks = marks;
  }

  /** Requests it is sent as. */
  get requests(): number {
    return this.frames === undefined ? 1 : this.count;
  }

  /** Notes the record whose bytes have just been written up to `end`. */
  add(done: SendDone, idPrefix: string, idLow: number, end: number): void {
    if (this.count === 0) {
      // Arrays made with their first element hold just that: a batch of one is common, and an empty array's first push takes 17 places.
      this.dones = [done];
      this.idLows = [idLow];
      this.#idPrefix = idPrefix;
    } else {
      this.dones.push(done);
      this.idLows.push(idLow);
      if (this.#idPrefixes !== undefined) this.#idPrefixes.push(idPrefix);
      else if (idPrefix !== this.#idPrefix) this.#spreadPrefixes(idPrefix);
    }
    this.count++;
    this.left++;
    this.end = end;
  }

  idPrefix(index: number): string {
    return this.#idPrefixes === undefined ? this.#idPrefix : this.#idPrefixes[index]!;
  }

  onReply(index: number, error: PeerError | undefined, reply: Frame): void {
    this.flight!.replied(this, index, error, reply);
  }

  reads(bytes: Buffer, at: number, end: number): boolean {
    return this.frames !== undefined && this.flight!.reads(bytes, at, end);
  }

  onRead(index: number): void {
    this.flight!.acknowledged(this, index);
  }

  /** Takes the callback of a record that has its verdict now. */
  settle(index: number): SendDone {
    const done = this.dones[index]!;
    this.dones[index] = undefined;
    this.left--;
    return done;
  }

  /** Notes that a frame is to be sent again once all have been answered. */
  refuse(index: number, why: SendError): void {
    if (this.#refused.length === 0) this.#refused = [index];
    else this.#refused.push(index);
    this.refusal = why;
  }

  /** Of a run: whether every frame has an answer. */
  get answered(): boolean {
    return this.left === this.#refused.length;
  }

  /** Calls every record's callback, in the order of their sends. */
  succeed(answer: BatchAnswer, report: (thrown: unknown) => void): void {
    const { dones, idLows } = this;
    this.left = 0;
    for (let i = 0; i < dones.length; i++) {
      try {
        const offset = answer.baseOffset < 0 ? -1 : answer.baseOffset + i;
        dones[i]!(undefined, new SendReceipt(answer, offset, 0, 0, this.idPrefix(i), idLows[i]!));
      } catch (thrown) {
        report(thrown);
      }
    }
  }

  /** Calls the callbacks of all records that have none yet. */
  fail(error: SendError, report: (thrown: unknown) => void): void {
    this.left = 0;
    for (const done of this.dones) if (done !== undefined) callDone(done, error, report);
  }

  /** Of a run whose every frame has an answer: throws away all but the refused frames; it can be sent again then. */
  keepRefused(): void {
    const keep = this.#refused.sort((a, b) => a - b);
    const { buffer } = this;
    let kept = 0;
    let end = 0;
    for (let index = 0, at = 0; kept < keep.length; index++) {
      const next = at + 4 + readI32(buffer, at);
      if (index === keep[kept]) {
        buffer.copyWithin(end, at, next);
        end += next - at;
        this.dones[kept] = this.dones[index];
        this.idLows[kept] = this.idLows[index]!;
        if (this.#idPrefixes !== undefined) this.#idPrefixes[kept] = this.#idPrefixes[index]!;
        kept++;
      }
      at = next;
    }
    this.dones.length = this.idLows.length = this.count = this.left = kept;
    if (this.#idPrefixes !== undefined) this.#idPrefixes.length = kept;
    this.end = end;
    this.#refused = NONE;
    this.answer = undefined;
  }

  /**
   * Cuts elements in two of about equal size, each with at least one record, in buffers of their own; together they are charged as this
   * one was. Their delivery time still runs from the same first record; their attempts begin anew. `makeRoom`: the second one's first element gets room for
   * a number, as the first one's has.
   */
  halves(makeRoom: boolean): [ProducerBatch, ProducerBatch] {
    const { buffer, end, count } = this;
    let cut = 0;
    let at = 0;
    while (cut === 0 || (cut < count - 1 && at < end / 2)) {
      at += readI32(buffer, at);
      cut++;
    }
    const first = this.#piece(0, cut, Buffer.from(buffer.subarray(0, at)), this.sequence);
    const rest = buffer.subarray(at, end);
    const second = this.#piece(cut, count, makeRoom ? numberable(rest) : Buffer.from(rest), this.sequence + this.share / 2);
    const chargedBytes = this.pooled ? buffer.length : this.chargedBytes;
    first.chargedBytes = Math.min(chargedBytes, first.buffer.length);
    second.chargedBytes = chargedBytes - first.chargedBytes;
    return [first, second];
  }

  #piece(from: number, to: number, bytes: Buffer, sequence: number): ProducerBatch {
    const piece = new ProducerBatch(
      this.lane,
      sequence,
      bytes,
      this.createdMs,
      this.bornTimestamp,
      undefined,
      this.single,
      this.sysFlag,
      this.marks,
    );
    piece.isPiece = piece.closed = true;
    piece.pooled = false;
    piece.share = this.share / 2;
    piece.pinned = this.pinned;
    for (let index = from; index < to; index++)
      piece.add(this.dones[index]!, this.idPrefix(index), this.idLows[index]!, bytes.length);
    return piece;
  }

  #spreadPrefixes(next: string): void {
    this.#idPrefixes = new Array<string>(this.count).fill(this.#idPrefix);
    this.#idPrefixes.push(next);
  }
}

/** Elements with room for TS_SEQ in front of the first one's properties. */
function numberable(elements: Buffer): Buffer {
  const propertiesAt = 22 + readI32(elements, 16);
  const wider = Buffer.allocUnsafeSlow(elements.length + SEQUENCE_BYTES);
  wider.set(elements.subarray(0, propertiesAt));
  wider.set(elements.subarray(propertiesAt), propertiesAt + SEQUENCE_BYTES);
  writeI32(wider, 0, readI32(elements, 0) + SEQUENCE_BYTES);
  writeU16(wider, propertiesAt - 2, readU16(elements, propertiesAt - 2) + SEQUENCE_BYTES);
  return wider;
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
