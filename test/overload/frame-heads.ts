/**
 * Looks at the head of every binary frame in a stream of chunks, without decoding it: code, opaque, flag, and the first bytes of the
 * remark. Frames with JSON headers are passed over. Cheap enough to stand beside a broker at full load.
 *
 *     length u32 | kind u8, header length u24 | code u16 | language u8 | version u16 | opaque i32 | flag i32 | remark length i32 | remark …
 */
export class FrameHeads {
  readonly #onHead: (bytes: Buffer, at: number, headBytes: number) => void;
  /** The head of a frame that began in an earlier chunk. */
  readonly #part = Buffer.alloc(HEAD_BYTES);
  #have = 0;
  /** Bytes of the present frame that are still to come and of no interest. */
  #skip = 0;

  /** `at` is where the frame begins in `bytes`, of which `headBytes` can be read; valid during the call. */
  constructor(onHead: (bytes: Buffer, at: number, headBytes: number) => void) {
    this.#onHead = onHead;
  }

  read(chunk: Uint8Array): void {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, end - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      if (this.#have > 0 || end - at < HEAD_BYTES) {
        at = this.#collect(bytes, at);
        continue;
      }
      const frameBytes = 4 + bytes.readUInt32BE(at);
      const headBytes = Math.min(HEAD_BYTES, frameBytes);
      if (bytes[at + 4] === 1) this.#onHead(bytes, at, headBytes);
      this.#skip = frameBytes - headBytes;
      at += headBytes;
    }
  }

  #collect(bytes: Buffer, from: number): number {
    let at = from;
    let wanted = this.#wanted();
    while (at < bytes.length && this.#have < wanted) {
      this.#part[this.#have++] = bytes[at++]!;
      if (this.#have === 4) wanted = this.#wanted();
    }
    if (this.#have < wanted || this.#have < 4) return at;
    const frameBytes = 4 + this.#part.readUInt32BE(0);
    this.#skip = frameBytes - this.#have;
    if (this.#part[4] === 1) this.#onHead(this.#part, 0, this.#have);
    this.#have = 0;
    return at;
  }

  #wanted(): number {
    return this.#have < 4 ? HEAD_BYTES : Math.min(HEAD_BYTES, 4 + this.#part.readUInt32BE(0));
  }
}

/** Enough to tell the busy texts apart. */
const HEAD_BYTES = 29 + 12;

export function codeOf(bytes: Buffer, at: number): number {
  return bytes.readUInt16BE(at + 8);
}

export function opaqueOf(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + 13);
}

export function isAnswer(bytes: Buffer, at: number): boolean {
  return (bytes[at + 20]! & 1) === 1;
}

/** How sends can be answered, as far as flow control goes. */
export const ANSWERS = [
  'ok',
  'reject-request',
  'overload',
  'pc-synchronized',
  'pcbusy-clean-queue',
  'timeout-clean-queue',
  'busy',
  'maybe',
  'other',
] as const;
export type Answer = (typeof ANSWERS)[number];

/** Its place in {@link ANSWERS}; by the code and, for busy answers, the word in brackets that the remark begins with. */
export function answerOf(bytes: Buffer, at: number, headBytes: number): number {
  const code = codeOf(bytes, at);
  if (code === 0) return 0;
  if (code === 10 || code === 1) return 7;
  if (code !== 2) return 8;
  const remark = bytes.toString('latin1', at + 25, at + headBytes).replace(/^[^[]*/, '');
  if (remark.startsWith('[REJ')) return 1;
  if (remark.startsWith('[OVE')) return 2;
  if (remark.startsWith('[PC_')) return 3;
  if (remark.startsWith('[PCB')) return 4;
  return remark.startsWith('[TIM') ? 5 : 6;
}
