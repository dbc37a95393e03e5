/**
 * A first-in first-out queue with two limits, count and weight (usually bytes), over a ring that grows by doubling and never
 * shrinks. It refuses and never drops: what to do with a refused item is its owner's decision. One item heavier than the whole
 * weight limit is accepted into an empty queue, so that it cannot wait for ever.
 */
export class BoundedQueue<T> {
  #items: (T | undefined)[] = new Array<T | undefined>(FIRST_SLOTS);
  #weights: number[] = new Array<number>(FIRST_SLOTS).fill(0);
  #head = 0;
  #length = 0;
  #weight = 0;
  readonly countMax: number;
  readonly weightMax: number;

  constructor(countMax: number, weightMax: number = Number.POSITIVE_INFINITY) {
    this.countMax = countMax;
    this.weightMax = weightMax;
  }

  get length(): number {
    return this.#length;
  }

  get weight(): number {
    return this.#weight;
  }

  /** Takes the item in, or says no: false when a limit would be passed. */
  offer(item: T, weight = 0): boolean {
    if (this.#length >= this.countMax) return false;
    if (this.#length > 0 && this.#weight + weight > this.weightMax) return false;
    if (this.#length === this.#items.length) this.#grow();
    const slot = (this.#head + this.#length) & (this.#items.length - 1);
    this.#items[slot] = item;
    this.#weights[slot] = weight;
    this.#length++;
    this.#weight += weight;
    return true;
  }

  /** The oldest item, left in place; undefined when empty. */
  peek(): T | undefined {
    return this.#items[this.#head];
  }

  /** Takes the oldest item out; undefined when empty. */
  take(): T | undefined {
    if (this.#length === 0) return undefined;
    const slot = this.#head;
    const item = this.#items[slot];
    this.#items[slot] = undefined;
    this.#head = (slot + 1) & (this.#items.length - 1);
    this.#length--;
    this.#weight -= this.#weights[slot]!;
    return item;
  }

  /** Takes everything out, oldest first. */
  drain(): T[] {
    const items: T[] = [];
    while (this.#length > 0) items.push(this.take() as T);
    return items;
  }

  #grow(): void {
    const slots = this.#items.length;
    const items = new Array<T | undefined>(slots * 2);
    const weights = new Array<number>(slots * 2).fill(0);
    for (let n = 0; n < slots; n++) {
      const slot = (this.#head + n) & (slots - 1);
      items[n] = this.#items[slot];
      weights[n] = this.#weights[slot]!;
    }
    this.#items = items;
    this.#weights = weights;
    this.#head = 0;
  }
}

const FIRST_SLOTS = 16;
