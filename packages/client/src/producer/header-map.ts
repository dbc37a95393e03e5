type HeaderValue = string | Uint8Array;

/**
 * Headers that serializers may add to and nobody may change once they are sent. A record may come with a map or an object of its own,
 * too: that is copied.
 */
export class HeaderMap extends Map<string, HeaderValue> {
  #isReadOnly = false;

  constructor(headers: Iterable<readonly [string, HeaderValue]> = []) {
    super();
    for (const [name, value] of headers) this.set(name, value);
  }

  /** True once a record with these headers has been sent. */
  get isReadOnly(): boolean {
    return this.#isReadOnly;
  }

  /** From now on they can only be read. */
  setReadOnly(): void {
    this.#isReadOnly = true;
  }

  override set(name: string, value: HeaderValue): this {
    this.#mayChange();
    return super.set(name, value);
  }

  override delete(name: string): boolean {
    this.#mayChange();
    return super.delete(name);
  }

  override clear(): void {
    this.#mayChange();
    super.clear();
  }

  #mayChange(): void {
    if (this.#isReadOnly)
      throw new TypeError('these headers have been sent and can only be read; make new ones for the next record');
  }
}
