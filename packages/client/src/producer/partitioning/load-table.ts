/**
 * Weights for a choice that prefers queues with little in front of them, as Kafka's adaptive partitioner: longest + 1 − length, and 0
 * for a queue that must not be chosen. Kept as running sums, so that one random number finds its entry.
 *
 *    batches waiting   0  3  1         sums   4  5  8         a number below 4: first queue, 4: second, 5 to 7: third
 */
export class LoadTable {
  /** Running sums by queue; of no meaning while `isEven`. */
  readonly #sums: number[] = [];
  /** True when nothing speaks for or against any queue. */
  isEven = true;

  /** Takes the batches waiting per queue; a negative length leaves a queue out, unless all are left out. */
  fill(lengths: readonly number[]): void {
    let longest = -1;
    let shortest = Infinity;
    let leftOut = 0;
    for (const length of lengths) {
      if (length < 0) leftOut++;
      else {
        if (length > longest) longest = length;
        if (length < shortest) shortest = length;
      }
    }
    this.isEven = leftOut === lengths.length || (leftOut === 0 && longest === shortest);
    if (this.isEven) return;
    this.#sums.length = 0;
    let sum = 0;
    for (const length of lengths) {
      if (length >= 0) sum += longest + 1 - length;
      this.#sums.push(sum);
    }
  }

  /** The queue for a random number. */
  choose(random: number): number {
    const sums = this.#sums;
    const at = random % sums[sums.length - 1]!;
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
