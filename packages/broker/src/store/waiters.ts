import type { AppendOutcome, AppendSink } from './store-types.ts';

/**
 * Appends that wait for the written, respectively durable, end to pass them: a ring of columns, so that a million waiting appends
 * make no object. In order of the log; whoever waits longest is told first.
 */
export class Waiters {
  #capacity = 1024;
  #head = 0;
  #count = 0;
  #end = new Float64Array(1024);
  #position = new Float64Array(1024);
  #queueOffset = new Float64Array(1024);
  #sinceMs = new Float64Array(1024);
  #token = new Float64Array(1024);
  #sink: (AppendSink | undefined)[] = new Array<AppendSink | undefined>(1024).fill(undefined);

  get count(): number {
    return this.#count;
  }

  /** Up to where the log must get for the first one to be told; Infinity when none waits. */
  get firstEnd(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : this.#end[this.#head]!;
  }

  /** How far the log must get for the last one to be told; 0 when none waits. */
  get lastEnd(): number {
    return this.#count === 0 ? 0 : this.#end[(this.#head + this.#count - 1) & (this.#capacity - 1)]!;
  }

  /** Monotonic time of the first one's append; Infinity when none waits. */
  get firstSinceMs(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : this.#sinceMs[this.#head]!;
  }

  add(sink: AppendSink, token: number, end: number, position: number, queueOffset: number, nowMs: number): void {
    if (this.#count === this.#capacity) this.#grow();
    const at = (this.#head + this.#count) & (this.#capacity - 1);
    this.#count++;
    this.#end[at] = end;
    this.#position[at] = position;
    this.#queueOffset[at] = queueOffset;
    this.#sinceMs[at] = nowMs;
    this.#token[at] = token;
    this.#sink[at] = sink;
  }

  /** Tells all whose end is not beyond `end`. A sink may append again meanwhile. */
  releaseTo(end: number, outcome: AppendOutcome): void {
    while (this.#count > 0 && this.#end[this.#head]! <= end) this.#releaseFirst(outcome);
  }

  /** Tells all who have waited since `sinceMs` or longer. */
  releaseSince(sinceMs: number, outcome: AppendOutcome): void {
    while (this.#count > 0 && this.#sinceMs[this.#head]! <= sinceMs) this.#releaseFirst(outcome);
  }

  #releaseFirst(outcome: AppendOutcome): void {
    const at = this.#head;
    const sink = this.#sink[at]!;
    this.#sink[at] = undefined;
    this.#head = (at + 1) & (this.#capacity - 1);
    this.#count--;
    sink.appended(this.#token[at]!, outcome, this.#position[at]!, this.#queueOffset[at]!);
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    const turn = (column: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const larger = new Float64Array(capacity);
      larger.set(column.subarray(this.#head));
      larger.set(column.subarray(0, this.#head), this.#capacity - this.#head);
      return larger;
    };
    this.#end = turn(this.#end);
    this.#position = turn(this.#position);
    this.#queueOffset = turn(this.#queueOffset);
    this.#sinceMs = turn(this.#sinceMs);
    this.#token = turn(this.#token);
    const sinks = [...this.#sink.slice(this.#head), ...this.#sink.slice(0, this.#head)];
    this.#sink = sinks.concat(new Array<AppendSink | undefined>(this.#capacity).fill(undefined));
    this.#head = 0;
    this.#capacity = capacity;
  }
}
