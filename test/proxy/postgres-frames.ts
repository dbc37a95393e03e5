/**
 * Cuts a PostgreSQL connection's bytes into protocol frames, in either direction.
 *
 * ```
 * frame    = type (1 byte) | length (u32, counts itself) | rest
 * to the server, before the start is done: no type byte; SSLRequest is answered by one bare byte
 * ```
 */
export interface PostgresFrame {
  /** `Q`, `P`, `C`, `Z`…; '' for the untyped ones of the start. */
  readonly type: string;
  readonly bytes: Buffer;
  /** Statement of `Q` and `P`, and of `B` where it was given a name before; tag of the server's `C`, status letter of `Z`, else ''. */
  readonly text: string;
}

export type Direction = 'to-server' | 'to-client';

const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;

export class FrameReader {
  readonly #direction: Direction;
  #rest: Buffer = Buffer.alloc(0);
  #started: boolean;
  /** Statements by the names under which the server keeps them. */
  readonly #kept = new Map<string, string>();
  /** The next byte to the client is the bare answer to SSLRequest. */
  bareByteNext = false;

  constructor(direction: Direction) {
    this.#direction = direction;
    this.#started = direction === 'to-client';
  }

  /** The frames that are whole now. */
  read(chunk: Buffer): PostgresFrame[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: PostgresFrame[] = [];
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): PostgresFrame | undefined {
    if (this.bareByteNext && this.#rest.length > 0) {
      this.bareByteNext = false;
      return { type: '', bytes: this.#take(1), text: '' };
    }
    if (!this.#started) return this.#untyped();
    if (this.#rest.length < 5) return undefined;
    const length = 1 + this.#rest.readUInt32BE(1);
    if (this.#rest.length < length) return undefined;
    const bytes = this.#take(length);
    const type = String.fromCharCode(bytes[0]!);
    return { type, bytes, text: this.#direction === 'to-server' ? this.#asked(type, bytes) : told(type, bytes) };
  }

  #untyped(): PostgresFrame | undefined {
    if (this.#rest.length < 8) return undefined;
    const length = this.#rest.readUInt32BE(0);
    if (this.#rest.length < length) return undefined;
    const code = this.#rest.readUInt32BE(4);
    this.#started = code !== SSL_REQUEST && code !== GSS_REQUEST;
    return { type: '', bytes: this.#take(length), text: this.#started ? '' : 'ssl?' };
  }

  #asked(type: string, bytes: Buffer): string {
    if (type === 'Q') return cString(bytes, 5);
    // Of a portal before the name.
    if (type === 'B') return this.#kept.get(cString(bytes, bytes.indexOf(0, 5) + 1)) ?? '';
    if (type !== 'P') return '';
    const name = cString(bytes, 5);
    const text = cString(bytes, bytes.indexOf(0, 5) + 1);
    if (name !== '') this.#kept.set(name, text);
    return text;
  }

  #take(length: number): Buffer {
    const bytes = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return bytes;
  }
}

function told(type: string, bytes: Buffer): string {
  if (type === 'C') return cString(bytes, 5);
  return type === 'Z' ? String.fromCharCode(bytes[5]!) : '';
}

function cString(bytes: Buffer, at: number): string {
  return bytes.toString('utf8', at, bytes.indexOf(0, at));
}
