/**
 * A record's headers as message properties: text under its own name, bytes as base64 with their names listed in TS_B64. What a broker
 * would drop or take for its own (empty, separators inside, a reserved name) is refused. One object serves all records.
 */
import { PropertyName, isReservedProperty } from '@tallystick/remoting';
import type { HeaderValue, RecordHeaders } from './record.ts';
import { isPlainText } from './text-bytes.ts';

export class HeaderProperties {
  /** Of the record read last, side by side. */
  readonly names: string[] = [];
  readonly values: string[] = [];
  #binary = '';

  /** Reads headers; a sentence when one of them cannot be sent. */
  read(headers: RecordHeaders | undefined): string | undefined {
    this.names.length = 0;
    this.values.length = 0;
    if (headers === undefined) return undefined;
    this.#binary = '';
    const fault = isMap(headers) ? this.#readMap(headers) : this.#readObject(headers);
    if (this.#binary !== '') this.#add(PropertyName.BASE64_HEADERS, this.#binary);
    return fault;
  }

  #readMap(headers: ReadonlyMap<string, HeaderValue>): string | undefined {
    for (const [name, value] of headers) {
      const fault = this.#readOne(name, value);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #readObject(headers: Readonly<Record<string, HeaderValue>>): string | undefined {
    for (const name of Object.keys(headers)) {
      const fault = this.#readOne(name, headers[name]!);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #readOne(name: string, value: HeaderValue): string | undefined {
    if (name === '' || !isPlainText(name) || isReservedProperty(name))
      return `header name "${name}" is empty, reserved or has control characters`;
    if (value === undefined || value === null || value.length === 0)
      return `header "${name}" must not be empty: brokers drop empty properties`;
    if (typeof value === 'string') {
      if (!isPlainText(value)) return `header "${name}" has control characters; pass bytes`;
      this.#add(name, value);
    } else {
      if (name.includes(' ')) return `header "${name}" with bytes must not have a space in its name`;
      this.#add(name, Buffer.from(value).toString('base64'));
      this.#binary += this.#binary === '' ? name : ` ${name}`;
    }
    return undefined;
  }

  #add(name: string, value: string): void {
    this.names.push(name);
    this.values.push(value);
  }
}

function isMap(headers: RecordHeaders): headers is ReadonlyMap<string, HeaderValue> {
  return typeof (headers as ReadonlyMap<string, HeaderValue>).entries === 'function';
}
