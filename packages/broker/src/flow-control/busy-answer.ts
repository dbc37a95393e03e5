import { writeI32 } from '@tallystick/base';
import {
  BINARY_HEADER,
  OUR_LANGUAGE,
  OUR_VERSION,
  Output,
  RESPONSE_FLAG,
  ResponseCode,
  writeFrame,
  type FrameEncoder,
  type HeaderKind,
} from '@tallystick/remoting';

/**
 * A refusal whose words are always the same, as a finished frame: only its opaque is filled in. What refusing costs is taken from those
 * that are served, and under ten times too much load there are nine refusals for each of them.
 */
export class BusyAnswer implements FrameEncoder<undefined> {
  readonly #text: string;
  readonly #frame: Buffer;

  constructor(text: string) {
    this.#text = text;
    const out = new Output();
    this.#write(out, BINARY_HEADER, 0);
    this.#frame = Buffer.from(out.bytes.subarray(0, out.at));
  }

  encode(out: Output, kind: HeaderKind, opaque: number): void {
    if (kind !== BINARY_HEADER) return this.#write(out, kind, opaque);
    const at = out.reserve(this.#frame.length);
    out.bytes.set(this.#frame, at);
    writeI32(out.bytes, at + OPAQUE_AT, opaque);
    out.at = at + this.#frame.length;
  }

  #write(out: Output, kind: HeaderKind, opaque: number): void {
    const code = ResponseCode.SYSTEM_BUSY;
    const head = { kind, code, flag: RESPONSE_FLAG, opaque, language: OUR_LANGUAGE, version: OUR_VERSION, remark: this.#text };
    writeFrame(out, head, undefined, undefined);
  }
}

/** In a frame with a binary header: after both lengths, code, language and version. */
const OPAQUE_AT = 13;
