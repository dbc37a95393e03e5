/** Names that an object of the caller's may have. One that it has beside them is misspelt, and what it says would be lost without a word. */
export class Fields {
  readonly #names: ReadonlySet<string>;

  constructor(names: Readonly<Record<string, true>>) {
    this.#names = new Set(Object.keys(names));
  }

  /** What is wrong with the names in `given`, which is `a message` or the like. Looked at for every one: a tenth of a microsecond. */
  fault(what: string, given: object): string | undefined {
    for (const name in given)
      if (!this.#names.has(name) && Object.hasOwn(given, name))
        return `${what} has no field ${JSON.stringify(name)}; ${this.#meant(name)}`;
    return undefined;
  }

  #meant(name: string): string {
    const near = [...this.#names].map((known) => ({ known, distance: distanceOf(name.toLowerCase(), known.toLowerCase()) }));
    near.sort((a, b) => a.distance - b.distance);
    const [{ known, distance }] = near as [(typeof near)[0]];
    return distance <= known.length / 2 ? `is ${known} meant?` : `there are ${[...this.#names].join(', ')}`;
  }
}

/** How many characters have to be changed, added or left out to make `b` of `a`. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
