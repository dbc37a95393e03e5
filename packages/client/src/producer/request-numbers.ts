/**
 * Numbers on requests, so that a broker stores each once however often it comes (idempotence). A number is given at a batch's first
 * departure and stays over all attempts, as long as nobody knows what became of the batch; numbers of a queue run on without gaps, in the
 * order of its batches. It travels as the first property of the first record:
 *
 *    TS_SEQ 01 <32 hex digits: the producer> : <5 digits: epoch> : <12 digits: number> 02
 *
 * A number that will never be used (its batch failed for good, or was cut in pieces) is a gap behind which the broker takes nothing more
 * of this epoch: so whatever comes behind it cannot have been stored, and may be numbered anew in the next epoch, once nothing of the queue
 * is in flight. After the last epoch a queue goes on under a new producer's id.
 *
 * Of a queue that is forgotten only this stays: whatever comes later begins in an epoch after its last one. So no number is ever used
 * twice for one queue, however many topics come and go.
 */
import { type Random, readI32, writeDecimal } from '@tallystick/base';
import type { Lane, ProducerBatch } from './producer-batch.ts';

const ID_AT = 7;
const EPOCH_AT = ID_AT + 33;
const EPOCH_DIGITS = 5;
const NUMBER_AT = EPOCH_AT + EPOCH_DIGITS + 1;
const NUMBER_DIGITS = 12;
const EPOCH_MAX = 99_999;

export class RequestNumbers {
  readonly #random: Random;
  #text: string;
  /** No queue that has no number yet begins before this epoch: it may be one that was forgotten. */
  #firstEpoch = 0;
  /** Of queues that have used up all epochs of that one. */
  readonly #newTexts = new Map<Lane, string>();

  constructor(random: Random) {
    this.#random = random;
    this.#text = textOfNew(random);
  }

  /** Whether the first batch of a lane may go as far as numbers are concerned. May begin a new epoch: `began` then. */
  mayGo(batch: ProducerBatch, began: () => void): boolean {
    const { lane } = batch;
    if (lane.gapAt >= 0 && (batch.number < 0 || batch.number > lane.gapAt)) {
      if (lane.inFlight > 0) return false;
      this.#beginEpoch(lane);
      began();
    }
    // A repeated request must not overtake an earlier one that is on its way.
    return batch.attempts === 0 || lane.lowestInFlight(batch) === undefined;
  }

  /** Numbers a batch that leaves, if it has no number yet. */
  number(batch: ProducerBatch): void {
    if (batch.number >= 0) return;
    const { lane, buffer } = batch;
    if (lane.nextNumber === 0 && lane.epoch < this.#firstEpoch) lane.epoch = this.#firstEpoch;
    batch.epoch = lane.epoch;
    batch.number = lane.nextNumber++;
    const at = 22 + readI32(buffer, 16);
    const text = this.#newTexts.size === 0 ? this.#text : (this.#newTexts.get(lane) ?? this.#text);
    buffer.write(text, at, 'latin1');
    writePadded(buffer, at + EPOCH_AT, EPOCH_DIGITS, batch.epoch);
    writePadded(buffer, at + NUMBER_AT, NUMBER_DIGITS, batch.number);
  }

  /** A batch ends whose number the broker has not and will not get. */
  forget(batch: ProducerBatch): void {
    const { lane } = batch;
    if (batch.number < 0 || batch.epoch !== lane.epoch) return;
    if (lane.gapAt < 0 || batch.number < lane.gapAt) lane.gapAt = batch.number;
  }

  /**
   * The broker misses an earlier number. If none is still to come, there is a gap that only a new epoch ends: nothing from this batch on can
   * have been stored. False: the batch may have been, and then the broker has forgotten it, so it must not go again.
   */
  missesEarlier(batch: ProducerBatch): boolean {
    const { lane } = batch;
    if (batch.epoch !== lane.epoch || lane.lowestInFlight(batch) !== undefined) return true;
    if (lane.batches.some((other) => other.number >= 0 && other.number < batch.number)) return true;
    if (batch.maybeStored) return false;
    if (lane.gapAt < 0 || batch.number - 1 < lane.gapAt) lane.gapAt = Math.max(0, batch.number - 1);
    if (batch.number === 0) batch.number = -1;
    return true;
  }

  /** Queues are forgotten of which nothing waits or is in flight; `living` are all others. */
  retire(gone: Iterable<Lane>, living: Iterable<Lane>): void {
    let first = this.#firstEpoch;
    for (const lane of gone) {
      if (this.#newTexts.delete(lane)) continue;
      first = Math.max(first, lane.nextNumber > 0 ? lane.epoch + 1 : lane.epoch);
    }
    this.#firstEpoch = first;
    if (first <= EPOCH_MAX) return;
    // Those that have numbers stay with the old id, all others begin under a new one.
    for (const lane of living) {
      const isNumbered = lane.nextNumber > 0 || lane.epoch > 0;
      if (isNumbered && !this.#newTexts.has(lane)) this.#newTexts.set(lane, this.#text);
    }
    this.#text = textOfNew(this.#random);
    this.#firstEpoch = 0;
  }

  #beginEpoch(lane: Lane): void {
    for (const batch of lane.batches) if (batch.number > lane.gapAt) batch.number = -1;
    if (lane.epoch < EPOCH_MAX) lane.epoch++;
    else {
      this.#newTexts.set(lane, textOfNew(this.#random));
      lane.epoch = 0;
    }
    lane.nextNumber = 0;
    lane.gapAt = -1;
  }
}

/** The property with a new producer's id, 32 hex digits, of which there is no other. */
function textOfNew(random: Random): string {
  const producerId = [0, 1, 2, 3].map(() => random.u32().toString(16).toUpperCase().padStart(8, '0')).join('');
  return `TS_SEQ\u0001${producerId}:${'0'.repeat(EPOCH_DIGITS)}:${'0'.repeat(NUMBER_DIGITS)}\u0002`;
}

function writePadded(bytes: Buffer, at: number, digits: number, value: number): void {
  const length = value === 0 ? 1 : Math.floor(Math.log10(value)) + 1;
  writeDecimal(bytes, at + digits - length, value);
}
