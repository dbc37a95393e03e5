/**
 * What is remembered of producers' requests to queues, a row for each pair: the last {@link WINDOW_REQUESTS} requests, as Kafka does it, so that a
 * producer may have so many in flight. Of a request the place of its first record is kept; how many records a repeated request has it says itself.
 *
 * All rows lie in a few large arrays: a snapshot is taken between two messages and must copy 100,000 rows (17 MB) in some milliseconds.
 *
 *     row: producer (-1 when the row is free)  topic  queue id  epoch  first  next, and for each request at its sequence modulo the
 *     window's size: queue offset  position  store time            doubles, little-endian in a snapshot
 */
export class SequenceWindows {
  readonly #pages: Float64Array[] = [];
  readonly #free: number[] = [];
  #rows = 0;

  /** Rows in use. */
  get size(): number {
    return this.#rows - this.#free.length;
  }

  /** A row for requests of a producer (by number) to a queue, with none so far. */
  add(producer: number, topic: number, queueId: number): number {
    const row = this.#free.pop() ?? this.#rows++;
    if (row >> PAGE_BITS === this.#pages.length) this.#pages.push(new Float64Array(PAGE_ROWS * ROW));
    const page = this.#page(row);
    const at = offsetOf(row);
    page.fill(0, at, at + ROW);
    page[at + PRODUCER] = producer;
    page[at + TOPIC] = topic;
    page[at + QUEUE] = queueId;
    return row;
  }

  remove(row: number): void {
    this.#page(row)[offsetOf(row) + PRODUCER] = FREE;
    this.#free.push(row);
  }

  judge(row: number, epoch: number, sequence: number): Verdict {
    const own = this.epoch(row);
    if (epoch !== own) {
      if (epoch < own) return 'old-epoch';
      return sequence === 0 ? 'new' : 'gap';
    }
    const next = this.next(row);
    if (sequence >= next) return sequence === next ? 'new' : 'gap';
    return sequence >= Math.max(this.#get(row, FIRST), next - WINDOW_REQUESTS) ? 'duplicate' : 'too-old';
  }

  /** Notes a request that is in the log. What does not follow the last one, such as a new epoch, begins the window anew. */
  note(row: number, epoch: number, sequence: number, queueOffset: number, position: number, storeTimestamp: number): void {
    const page = this.#page(row);
    const at = offsetOf(row);
    if (epoch !== page[at + EPOCH] || sequence !== page[at + NEXT]) {
      page[at + EPOCH] = epoch;
      page[at + FIRST] = sequence;
    }
    page[at + NEXT] = sequence + 1;
    const cell = at + cellOf(sequence);
    page[cell] = queueOffset;
    page[cell + 1] = position;
    page[cell + 2] = storeTimestamp;
  }

  producer(row: number): number {
    return this.#get(row, PRODUCER);
  }

  topic(row: number): number {
    return this.#get(row, TOPIC);
  }

  queueId(row: number): number {
    return this.#get(row, QUEUE);
  }

  epoch(row: number): number {
    return this.#get(row, EPOCH);
  }

  /** The sequence expected next. */
  next(row: number): number {
    return this.#get(row, NEXT);
  }

  queueOffset(row: number, sequence: number): number {
    return this.#get(row, cellOf(sequence));
  }

  position(row: number, sequence: number): number {
    return this.#get(row, cellOf(sequence) + 1);
  }

  storeTimestamp(row: number, sequence: number): number {
    return this.#get(row, cellOf(sequence) + 2);
  }

  /** Bytes of all rows, free ones with them. */
  get byteLength(): number {
    return this.#rows * ROW_BYTES;
  }

  /** The rows as they lie in memory, for {@link load}: views in order. */
  views(): readonly Uint8Array[] {
    return this.#pages.map((page, n) => {
      const view = Buffer.from(page.buffer, 0, Math.min(page.byteLength, this.byteLength - n * page.byteLength));
      return IS_LITTLE_ENDIAN ? view : Buffer.from(view).swap64();
    });
  }

  /** Adds one of the {@link views}, in order; there were no rows before the first. Visits each row that is in use. */
  load(view: Uint8Array, visit: (row: number) => void): void {
    const isWhole = view.length % ROW_BYTES === 0 && view.length <= PAGE_ROWS * ROW_BYTES;
    if (!isWhole || this.#rows !== this.#pages.length * PAGE_ROWS)
      throw new Error(`producer sequences: ${view.length} bytes are no whole rows`);
    const page = new Float64Array(PAGE_ROWS * ROW);
    const target = Buffer.from(page.buffer);
    target.set(view);
    if (!IS_LITTLE_ENDIAN) target.swap64();
    this.#pages.push(page);
    for (const end = this.#rows + view.length / ROW_BYTES; this.#rows < end; this.#rows++) {
      if (this.producer(this.#rows) === FREE) this.#free.push(this.#rows);
      else visit(this.#rows);
    }
  }

  /** Gives a row of {@link load} the numbers that its producer and topic have now. */
  renumber(row: number, producer: number, topic: number): void {
    const page = this.#page(row);
    page[offsetOf(row) + PRODUCER] = producer;
    page[offsetOf(row) + TOPIC] = topic;
  }

  #page(row: number): Float64Array {
    return this.#pages[row >> PAGE_BITS]!;
  }

  #get(row: number, column: number): number {
    return this.#page(row)[offsetOf(row) + column]!;
  }
}

/**
 * `new`: the next one, to be stored. `duplicate`: stored before, its place is known. `gap`: an earlier request is missing. `too-old`: stored
 * before, its place forgotten. `old-epoch`: the producer itself has begun anew since.
 */
export type Verdict = 'new' | 'duplicate' | 'gap' | 'too-old' | 'old-epoch';

export const WINDOW_REQUESTS = 5;
const CELL = 3;
const PRODUCER = 0;
const TOPIC = 1;
const QUEUE = 2;
const EPOCH = 3;
const FIRST = 4;
const NEXT = 5;
const CELLS = 6;
const ROW = CELLS + WINDOW_REQUESTS * CELL;
const ROW_BYTES = ROW * 8;
const PAGE_BITS = 9;
const PAGE_ROWS = 1 << PAGE_BITS;
const FREE = -1;
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function offsetOf(row: number): number {
  return (row & (PAGE_ROWS - 1)) * ROW;
}

function cellOf(sequence: number): number {
  return CELLS + (sequence % WINDOW_REQUESTS) * CELL;
}
