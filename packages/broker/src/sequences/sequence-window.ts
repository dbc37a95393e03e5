/**
 * What is remembered of one producer's requests to one queue: the last {@link WINDOW_REQUESTS}, as Kafka does it, so that a producer may have so
 * many in flight. Of a request the place of its first record is kept; how many records a repeated request has it says itself.
 */
export class SequenceWindow {
  epoch = 0;
  /** First sequence of this epoch that the window knows of, and the one expected next. */
  first = 0;
  next = 0;
  /** Queue offset, position and store time of each request, at sequence modulo the window's size. */
  readonly #cells = new Float64Array(WINDOW_REQUESTS * CELL);

  judge(epoch: number, sequence: number): Verdict {
    if (epoch !== this.epoch) {
      if (epoch < this.epoch) return 'old-epoch';
      return sequence === 0 ? 'new' : 'gap';
    }
    if (sequence >= this.next) return sequence === this.next ? 'new' : 'gap';
    return sequence >= this.oldest ? 'duplicate' : 'too-old';
  }

  /** The oldest request whose place is known. */
  get oldest(): number {
    return Math.max(this.first, this.next - WINDOW_REQUESTS);
  }

  /** Notes a request that is in the log. What does not follow the last one, such as a new epoch, begins the window anew. */
  note(epoch: number, sequence: number, queueOffset: number, position: number, storeTimestamp: number): void {
    if (epoch !== this.epoch || sequence !== this.next) {
      this.epoch = epoch;
      this.first = sequence;
    }
    this.next = sequence + 1;
    const at = (sequence % WINDOW_REQUESTS) * CELL;
    this.#cells[at] = queueOffset;
    this.#cells[at + 1] = position;
    this.#cells[at + 2] = storeTimestamp;
  }

  queueOffset(sequence: number): number {
    return this.#cells[(sequence % WINDOW_REQUESTS) * CELL]!;
  }

  position(sequence: number): number {
    return this.#cells[(sequence % WINDOW_REQUESTS) * CELL + 1]!;
  }

  storeTimestamp(sequence: number): number {
    return this.#cells[(sequence % WINDOW_REQUESTS) * CELL + 2]!;
  }
}

/**
 * `new`: the next one, to be stored. `duplicate`: stored before, its place is known. `gap`: an earlier request is missing. `too-old`: stored
 * before, its place forgotten. `old-epoch`: the producer itself has begun anew since.
 */
export type Verdict = 'new' | 'duplicate' | 'gap' | 'too-old' | 'old-epoch';

export const WINDOW_REQUESTS = 5;
const CELL = 3;
