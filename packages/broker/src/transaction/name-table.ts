/** Numbers for names that repeat a million times: groups and topics of half messages. Names are never forgotten. */
export class NameTable {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];

  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const number = this.#names.push(name) - 1;
    this.#numbers.set(name, number);
    return number;
  }

  /** The number of a name that is known; -1 for any other. */
  find(name: string): number {
    return this.#numbers.get(name) ?? -1;
  }

  /** By number. */
  get names(): readonly string[] {
    return this.#names;
  }

  name(number: number): string {
    return this.#names[number] ?? '';
  }
}
