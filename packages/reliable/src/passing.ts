/**
 * A map, or a set, through which things pass. Each table of a Map leads to the one that has replaced it; from one that has grown old the
 * collector reaches all later ones and all that was in them, and gives nothing of it back before it collects the whole heap. These begin anew
 * when they are empty, and after a few times as many insertions as they hold. What is only waited for is counted: `Underway`.
 */
export class PassingMap<K, V> {
  #map = new Map<K, V>();
  #inserted = 0;

  get size(): number {
    return this.#map.size;
  }

  has(key: K): boolean {
    return this.#map.has(key);
  }

  get(key: K): V | undefined {
    return this.#map.get(key);
  }

  set(key: K, value: V): void {
    if (++this.#inserted > TURNOVER * Math.max(ENTRIES_MIN, this.#map.size)) {
      this.#map = new Map(this.#map);
      this.#inserted = 0;
    }
    this.#map.set(key, value);
  }

  delete(key: K): boolean {
    const was = this.#map.delete(key);
    if (was && this.#map.size === 0) this.clear();
    return was;
  }

  clear(): void {
    this.#map = new Map();
    this.#inserted = 0;
  }

  /** What is there now, in the order in which it came; a copy. */
  entries(): [K, V][] {
    return [...this.#map];
  }

  /** As {@link entries}. */
  keys(): K[] {
    return [...this.#map.keys()];
  }

  /** As {@link entries}. */
  values(): V[] {
    return [...this.#map.values()];
  }
}

export class PassingSet<T> {
  readonly #map = new PassingMap<T, true>();

  get size(): number {
    return this.#map.size;
  }

  has(one: T): boolean {
    return this.#map.has(one);
  }

  add(one: T): void {
    this.#map.set(one, true);
  }

  delete(one: T): boolean {
    return this.#map.delete(one);
  }

  clear(): void {
    this.#map.clear();
  }

  /** As those of the map. */
  values(): T[] {
    return this.#map.keys();
  }
}

/** A new table after so many times as many insertions as there are entries: copying them costs a quarter of an insertion each. */
const TURNOVER = 4;
/** Fewer count as so many. */
const ENTRIES_MIN = 64;
