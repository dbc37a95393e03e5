/**
 * Serializers: from the key and value of a program to the text or bytes that travel. They are synchronous, because a send takes its
 * place in its queue during the call; one that needs a schema from elsewhere fetches it before, and may add headers that tell it.
 */
import { type SendError, fail } from '../errors.ts';
import { HeaderMap } from './header-map.ts';
import type { HeaderValue, ProducerRecord, RecordHeaders } from './record.ts';

export interface Serializer<T = unknown> {
  /** For error texts. */
  readonly name?: string | undefined;
  /** Text or bytes for `data`; undefined for a key means none. Called for absent data too. May add to `headers`; may throw. */
  serialize(topic: string, headers: HeaderMap, data: T): string | Uint8Array | undefined;
  /** Called once, when the producer has closed. */
  close?(): void;
}

/** The built-in ones. `plain`, the default, takes text and bytes as they are and costs nothing. */
export const SERIALIZERS = {
  plain: serializer('plain', (data) => {
    if (typeof data === 'string' || data instanceof Uint8Array) return data;
    throw new TypeError(`takes text or bytes, not ${kindOf(data)}`);
  }),
  string: serializer('string', (data) => {
    if (typeof data === 'string') return data;
    throw new TypeError(`takes text, not ${kindOf(data)}`);
  }),
  bytes: serializer('bytes', (data) => {
    if (data instanceof Uint8Array) return data;
    throw new TypeError(`takes bytes, not ${kindOf(data)}`);
  }),
  json: serializer('json', (data) => {
    const text: string | undefined = JSON.stringify(data);
    if (text !== undefined) return text;
    throw new TypeError(`cannot write ${kindOf(data)}`);
  }),
} as const;

export type SerializerName = keyof typeof SERIALIZERS;

/** The two serializers of a producer at work. */
export class Serialization {
  /** Nothing to be done: keys and values are text or bytes already. */
  readonly isPlain: boolean;
  readonly #key: Serializer;
  readonly #value: Serializer;

  constructor(key: SerializerName | Serializer, value: SerializerName | Serializer) {
    this.isPlain = key === 'plain' && value === 'plain';
    this.#key = typeof key === 'string' ? SERIALIZERS[key] : key;
    this.#value = typeof value === 'string' ? SERIALIZERS[value] : value;
  }

  /** The record as it will travel, or why it will not. */
  serialize(record: ProducerRecord<unknown, unknown>): ProducerRecord | SendError {
    const { topic } = record;
    const headers = record.headers instanceof HeaderMap ? record.headers : new HeaderMap(entriesOf(record.headers));
    let field = 'key';
    try {
      const key = checked(this.#key.serialize(topic, headers, record.key));
      field = 'value';
      const value = checked(this.#value.serialize(topic, headers, record.value));
      if (value === undefined) throw new TypeError('gave nothing, and there is no message without a value');
      // A property first: a literal that begins with a spread would make a hidden class for each record.
      return { tag: record.tag, ...record, key, value, headers };
    } catch (thrown) {
      const { name } = field === 'key' ? this.#key : this.#value;
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      const seen = `${field} of a record for ${topic}: serializer ${name ?? '(own)'} ${why}; pass another ${field} or set ${field}Serializer`;
      return fail('SERIALIZATION', seen, thrown);
    }
  }

  /** Closes both, once each. What they throw goes to `report`. */
  close(report: (sentence: string, thrown: unknown) => void): void {
    for (const one of new Set([this.#key, this.#value])) {
      try {
        one.close?.();
      } catch (thrown) {
        report(`closing serializer ${one.name ?? '(own)'} failed`, thrown);
      }
    }
  }
}

/** Headers of any kind, one by one. */
export function entriesOf(headers: RecordHeaders | undefined): Iterable<readonly [string, HeaderValue]> {
  if (headers === undefined) return [];
  const map = headers as ReadonlyMap<string, HeaderValue>;
  return typeof map.entries === 'function' ? map : Object.entries(headers);
}

function serializer(name: string, turn: (data: unknown) => string | Uint8Array): Serializer {
  return { name, serialize: (_topic, _headers, data) => (data === undefined ? undefined : turn(data)) };
}

/** Serializers are the user's code: what comes back may be anything. */
function checked(given: unknown): string | Uint8Array | undefined {
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string' || given instanceof Uint8Array) return given;
  if (typeof (given as { readonly then?: unknown }).then === 'function') {
    throw new TypeError('gave a promise, and serialize() must be synchronous: fetch what it needs before the send');
  }
  throw new TypeError(`gave ${kindOf(given)} instead of text or bytes`);
}

function kindOf(data: unknown): string {
  if (data === null || data === undefined) return String(data);
  return typeof data === 'object' ? (data.constructor?.name ?? 'an object') : `a ${typeof data}`;
}
