/**
 * Where the entries of one queue are. An entry is what RocketMQ keeps 20 bytes for: address, size and tag field of one message; the
 * k-th entry of a queue belongs to offset k. Entries of recent segments are *hot*: typed arrays in RAM, one run per segment. Those
 * of older segments are *sealed*: in the segment's index file, of which only first offset, count and place are kept here.
 */
export class QueueEntries {
  /** In order of offsets; sealed runs come before hot ones. */
  readonly hot: HotRun[] = [];
  readonly sealed = new SealedRuns();

  push(segmentBase: number, position: number, size: number, tagsCode: number, offset: number): void {
    this.runOf(segmentBase, offset).push(position, size, tagsCode);
  }

  /**
   * The newest run, which is the segment's: begun at this offset when there is none yet. Whoever reads a segment that is full says
   * how long it is.
   */
  runOf(segmentBase: number, offset: number, segmentBytes = 0): HotRun {
    let run = this.hot[this.hot.length - 1];
    if (run === undefined || run.segmentBase !== segmentBase) {
      // As many as in the segment before: growing by doubling costs more than all pushes.
      const expected = run === undefined ? 0 : run.count + (run.count >>> 4);
      run = new HotRun(segmentBase, offset, Math.max(FIRST_ENTRIES, expected), segmentBytes);
      this.hot.push(run);
    }
    return run;
  }

  firstOffset(nextOffset: number): number {
    // While a damaged index file is made again its run is hot though older than sealed ones.
    const hot = this.hot.length > 0 ? this.hot[0]!.first : nextOffset;
    return this.sealed.length > 0 ? Math.min(hot, this.sealed.first[0]!) : hot;
  }

  /** The hot run with that offset. */
  hotRun(offset: number): HotRun | undefined {
    for (let at = this.hot.length - 1; at >= 0; at--) {
      const run = this.hot[at]!;
      if (offset >= run.first) return offset < run.first + run.count ? run : undefined;
    }
    return undefined;
  }

  hotRunOf(segmentBase: number): HotRun | undefined {
    return this.hot.find((run) => run.segmentBase === segmentBase);
  }

  /** How many of the hot entries lie before `position`: the offset after the last such one, `otherwise` when there is none. */
  offsetAfter(position: number, otherwise: number): number {
    for (let at = this.hot.length - 1; at >= 0; at--) {
      const run = this.hot[at]!;
      const count = run.countBefore(position);
      if (count > 0) return run.first + count;
    }
    return otherwise;
  }

  /** The run's entries are in the index file from `at` on: forgets them here. */
  seal(segmentBase: number, at: number): void {
    const index = this.hot.findIndex((run) => run.segmentBase === segmentBase);
    if (index < 0) return;
    const run = this.hot[index]!;
    this.sealed.add(segmentBase, run.first, run.count, at);
    this.hot.splice(index, 1);
  }

  /** The segment is gone. */
  drop(segmentBase: number): void {
    this.sealed.drop(segmentBase);
    const index = this.hot.findIndex((run) => run.segmentBase === segmentBase);
    if (index >= 0) this.hot.splice(index, 1);
  }
}

/** The entries of one queue in one segment. Positions are relative to the segment: 16 bytes an entry. */
export class HotRun {
  readonly segmentBase: number;
  readonly first: number;
  count = 0;
  relative: Uint32Array<ArrayBuffer>;
  sizes: Int32Array<ArrayBuffer>;
  tags: Float64Array<ArrayBuffer>;
  /** 0 when it is not known how far the segment will be filled. */
  readonly #segmentBytes: number;

  constructor(segmentBase: number, first: number, capacity = FIRST_ENTRIES, segmentBytes = 0) {
    this.segmentBase = segmentBase;
    this.first = first;
    this.#segmentBytes = segmentBytes;
    const memory = new ArrayBuffer(ENTRY_BYTES * capacity);
    this.tags = new Float64Array(memory, 0, capacity);
    this.relative = new Uint32Array(memory, 8 * capacity, capacity);
    this.sizes = new Int32Array(memory, 12 * capacity, capacity);
  }

  push(position: number, size: number, tagsCode: number): void {
    const at = this.count;
    if (at === this.relative.length) this.#grow();
    this.relative[at] = position - this.segmentBase;
    this.sizes[at] = size;
    this.tags[at] = tagsCode;
    this.count = at + 1;
  }

  countBefore(position: number): number {
    const limit = position - this.segmentBase;
    const last = this.count - 1;
    if (last >= 0 && this.relative[last]! < limit) return this.count;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.relative[middle]! < limit) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #grow(): void {
    const { tags, relative, sizes } = this;
    const capacity = this.#nextCapacity();
    const memory = new ArrayBuffer(ENTRY_BYTES * capacity);
    this.tags = new Float64Array(memory, 0, capacity);
    this.tags.set(tags);
    this.relative = new Uint32Array(memory, 8 * capacity, capacity);
    this.relative.set(relative);
    this.sizes = new Int32Array(memory, 12 * capacity, capacity);
    this.sizes.set(sizes);
  }

  /** Twice as many, or as many as the segment will have if it goes on as it began; what is not used of that is never touched. */
  #nextCapacity(): number {
    const { count } = this;
    if (this.#segmentBytes === 0) return 2 * count;
    const expected = (count * this.#segmentBytes) / this.relative[count - 1]!;
    return Math.ceil(Math.max(2 * count, Math.min(GROWTH_MAX * count, expected * EXPECTED_MORE)));
  }
}

/** Runs in index files, column by column: a store of a thousand segments and queues has a million of them. */
export class SealedRuns {
  readonly first: number[] = [];
  readonly count: number[] = [];
  readonly segmentBase: number[] = [];
  readonly at: number[] = [];

  get length(): number {
    return this.first.length;
  }

  add(segmentBase: number, first: number, count: number, at: number): void {
    let index = this.length;
    while (index > 0 && this.first[index - 1]! > first) index--;
    this.first.splice(index, 0, first);
    this.count.splice(index, 0, count);
    this.segmentBase.splice(index, 0, segmentBase);
    this.at.splice(index, 0, at);
  }

  drop(segmentBase: number): void {
    const index = this.segmentBase.indexOf(segmentBase);
    if (index < 0) return;
    for (const column of [this.first, this.count, this.segmentBase, this.at]) column.splice(index, 1);
  }

  /** Which run holds the offset; -1 when none does. */
  find(offset: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.first[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    const index = low - 1;
    return index >= 0 && offset < this.first[index]! + this.count[index]! ? index : -1;
  }
}

const FIRST_ENTRIES = 16;
/** How many times as many entries as there are may be made room for. */
const GROWTH_MAX = 8;
/** So that a guess that is a little short is not paid for with another copy. */
const EXPECTED_MORE = 1.05;
const ENTRY_BYTES = 16;
