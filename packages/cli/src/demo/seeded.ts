/**
 * Repeatable randomness for the demo: the same seed and the same label give the same numbers on every machine, so a run can be
 * repeated by its seed and a transfer can be derived from its number alone, without replaying those before it.
 */

/** A small generator with 32 bits of state (the mulberry32 mixer); plenty for choosing names, amounts and steps. */
export class Seeded {
  private state: number;

  /** Numbers of different labels under one seed are independent of one another. */
  constructor(seed: number, label: string) {
    let state = (seed ^ 0x9e3779b9) | 0;
    for (let i = 0; i < label.length; i++) state = mix(state ^ label.charCodeAt(i));
    this.state = mix(state);
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor((this.u32() / 4294967296) * limit);
  }

  /** An integer in [low, high], both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** One of the items; the list must not be empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** The items in a new order. */
  shuffle<T>(items: readonly T[]): T[] {
    const out = [...items];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }

  private u32(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    return mix(this.state) >>> 0;
  }
}

function mix(value: number): number {
  let t = Math.imul(value ^ (value >>> 15), 1 | value);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return t ^ (t >>> 14);
}
