/**
 * Reads JSON as Java's fastjson writes it: standard JSON, and also what it does to maps whose keys are no strings: unquoted numbers
 * as keys (`{0:"ip:port"}`) and whole objects as keys (`{{"topic":"T","queueId":0}:5}`). Objects become Maps; an integer beyond
 * 2^53 becomes a BigInt. Total: text that is no JSON gives an error sentence, and nesting is limited.
 */
export function parseFastJson(text: string | Uint8Array): { readonly value: FastJson } | { readonly error: string } {
  const source = typeof text === 'string' ? text : Buffer.from(text.buffer, text.byteOffset, text.length).toString('utf8');
  const reader = new Reader(source);
  try {
    return { value: reader.whole() };
  } catch (error) {
    if (error instanceof BadJson) return { error: error.message };
    throw error;
  }
}

export type FastJson = string | number | bigint | boolean | null | FastJson[] | FastObject;

/** Keys are strings, numbers as their text; or, in maps keyed by objects, Maps themselves. */
export type FastObject = Map<string | FastObject, FastJson>;

/** Deeper nesting is an error. */
const DEPTH_MAX = 64;

class BadJson extends Error {}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): FastJson {
    const value = this.#value(0);
    if (this.#peek() !== '') this.#fail('the end');
    return value;
  }

  #value(depth: number): FastJson {
    if (depth > DEPTH_MAX) this.#fail(`less than ${DEPTH_MAX} levels`);
    const next = this.#peek();
    if (next === '{') return this.#object(depth);
    if (next === '[') return this.#array(depth);
    if (next === '"') return this.#string();
    return this.#word();
  }

  #object(depth: number): FastObject {
    this.#at++;
    const object: FastObject = new Map();
    for (let first = true; !this.#eat('}'); first = false) {
      if (!first && !this.#eat(',')) this.#fail('a comma or }');
      if (this.#eat('}')) break;
      const next = this.#peek();
      const key = next === '{' ? this.#keyObject(depth) : next === '"' ? this.#string() : this.#bareKey();
      if (!this.#eat(':')) this.#fail('a colon');
      object.set(key, this.#value(depth + 1));
    }
    return object;
  }

  #keyObject(depth: number): FastObject {
    if (depth + 1 > DEPTH_MAX) this.#fail(`less than ${DEPTH_MAX} levels`);
    return this.#object(depth + 1);
  }

  #array(depth: number): FastJson[] {
    this.#at++;
    const items: FastJson[] = [];
    for (let first = true; !this.#eat(']'); first = false) {
      if (!first && !this.#eat(',')) this.#fail('a comma or ]');
      items.push(this.#value(depth + 1));
    }
    return items;
  }

  #string(): string {
    const start = this.#at;
    for (let at = start + 1; at < this.#text.length; at++) {
      const unit = this.#text.charCodeAt(at);
      if (unit === 92) at++;
      else if (unit === 34) {
        this.#at = at + 1;
        return this.#unquoted(this.#text.slice(start, at + 1));
      }
    }
    return this.#fail('a closing quote');
  }

  #unquoted(quoted: string): string {
    const plain = quoted.slice(1, -1);
    if (!plain.includes('\\')) return plain;
    return plain.replace(
      /\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\s\S]))/g,
      (_all, unit: string | undefined, byte: string | undefined, escape: string) => {
        if (unit !== undefined || byte !== undefined) return String.fromCharCode(parseInt((unit ?? byte)!, 16));
        return ESCAPES.get(escape) ?? escape;
      },
    );
  }

  #bareKey(): string {
    const match = /[\w.+-]+/y;
    match.lastIndex = this.#at;
    const key = match.exec(this.#text)?.[0];
    if (key === undefined) return this.#fail('a key');
    this.#at += key.length;
    return key;
  }

  #word(): FastJson {
    const word = this.#bareKey();
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    if (/^-?\d{1,20}$/.test(word)) {
      const number = Number(word);
      return Number.isSafeInteger(number) ? number : BigInt(word);
    }
    if (/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(word) || word === 'NaN') return Number(word);
    return this.#fail('a value');
  }

  #peek(): string {
    while (this.#at < this.#text.length && this.#text.charCodeAt(this.#at) <= 32) this.#at++;
    return this.#text.charAt(this.#at);
  }

  #eat(mark: string): boolean {
    if (this.#peek() !== mark) return false;
    this.#at++;
    return true;
  }

  #fail(wanted: string): never {
    throw new BadJson(`JSON: ${wanted} expected at character ${this.#at}`);
  }
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** The member if it is a text, else ''. */
export function textOf(object: FastObject, key: string): string {
  const value = object.get(key);
  return typeof value === 'string' ? value : '';
}

/** The member as a Number (texts of digits too, BigInts rounded), else `fallback`. */
export function numberOf(object: FastObject, key: string, fallback: number): number {
  const value = object.get(key);
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || (typeof value === 'string' && /^-?\d{1,20}$/.test(value))) return Number(value);
  return fallback;
}

/** The member if it is true or false (as a word or text), else `fallback`. */
export function flagOf(object: FastObject, key: string, fallback: boolean): boolean {
  const value = object.get(key);
  if (typeof value === 'boolean') return value;
  return value === 'true' ? true : value === 'false' ? false : fallback;
}

/** The objects in a list member; none when it is no list. */
export function objectsOf(object: FastObject, key: string): FastObject[] {
  const value = object.get(key);
  return Array.isArray(value) ? value.filter((item): item is FastObject => item instanceof Map) : [];
}

/** The texts in a list member; none when it is no list. */
export function textsOf(object: FastObject, key: string): string[] {
  const value = object.get(key);
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** The member if it is an object, else an empty one. */
export function objectOf(object: FastObject, key: string): FastObject {
  const value = object.get(key);
  return value instanceof Map ? value : new Map();
}
