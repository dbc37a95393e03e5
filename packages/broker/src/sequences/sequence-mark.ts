import { Interner } from '@tallystick/remoting';

/**
 * The number that a producer gives to each of its requests, so that the broker knows one that comes twice. It stands in the first property
 * of the request's first record, and only there:
 *
 *     TS_SEQ 0x01 <32 hex digits: the producer> : <epoch> : <sequence> 0x02
 *
 * A sequence counts requests (a batch is one) of one producer to one queue, from 0 in each epoch. One mark serves all requests.
 */
export class SequenceMark {
  producer = '';
  epoch = 0;
  sequence = 0;
  #bytes: Buffer = NONE;
  #at = 0;

  /** Reads the mark of a block of properties that {@link isMarked}; false when it is malformed. */
  read(bytes: Buffer, start: number, end: number): boolean {
    const idStart = start + MARK_BYTES;
    const idEnd = idStart + ID_BYTES;
    if (idEnd >= end || bytes[idEnd] !== COLON) return false;
    for (let at = idStart; at < idEnd; at++) if (!isHex(bytes[at]!)) return false;
    this.#bytes = bytes;
    this.#at = idEnd + 1;
    this.epoch = this.#number(end, EPOCH_DIGITS, COLON);
    if (this.epoch < 0) return false;
    this.sequence = this.#number(end, SEQUENCE_DIGITS, VALUE_END);
    if (this.sequence < 0) return false;
    this.producer = producers.text(bytes, idStart, idEnd);
    return true;
  }

  /** The decimal number up to `stop` or the end; -1 when there is none or it has too many digits. */
  #number(end: number, digitsMax: number, stop: number): number {
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let value = 0;
    for (; at < end && bytes[at] !== stop; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9 || at - start === digitsMax) return -1;
      value = value * 10 + digit;
    }
    this.#at = at + 1;
    return at === start ? -1 : value;
  }
}

/** Whether a block of properties begins with a mark. All that a request without one pays. */
export function isMarked(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== MARK[0] || end - start < MARK_BYTES) return false;
  for (let n = 1; n < MARK_BYTES; n++) if (bytes[start + n] !== MARK[n]) return false;
  return true;
}

const MARK = Buffer.from('TS_SEQ\u0001', 'latin1');
const MARK_BYTES = MARK.length;
const ID_BYTES = 32;
const EPOCH_DIGITS = 5;
/** 10^15 requests fit a safe integer. */
const SEQUENCE_DIGITS = 15;
const COLON = 58;
const VALUE_END = 2;
const NONE = Buffer.alloc(0);
const producers = new Interner(16_384);

function isHex(byte: number): boolean {
  return (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 70) || (byte >= 97 && byte <= 102);
}
