import { readI32 } from '@tallystick/base';
import { Interner, NAME_END, VALUE_END } from '@tallystick/remoting';
import { PropertyScan, Slot } from '../property-scan.ts';

/**
 * Where a half message belongs: the topic and queue that the broker wrote behind all of its properties when it took it in,
 *
 *     … REAL_TOPIC 0x01 <topic> 0x02 REAL_QID 0x01 <digits> 0x02
 *
 * Of equal names the last counts, so what ends the block is read from its end; any other block is passed over from the beginning.
 */
export class RealPlace {
  topic = '';
  queueId = 0;
  readonly #scan = new PropertyScan();

  read(bytes: Buffer, start: number, end: number): void {
    if (this.#readEnd(bytes, start, end)) return;
    const scan = this.#scan.run(bytes, start, end);
    this.topic = scan.name(Slot.REAL_TOPIC);
    this.queueId = Math.max(0, scan.number(Slot.REAL_QUEUE));
  }

  #readEnd(bytes: Buffer, start: number, end: number): boolean {
    let at = end - 1;
    if (at - start < BYTES_MIN || bytes[at] !== VALUE_END) return false;
    let queueId = 0;
    for (let weight = 1; bytes[--at] !== NAME_END; weight *= 10) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9 || weight > WEIGHT_MAX) return false;
      queueId += digit * weight;
    }
    const topicEnd = at - QUEUE_NAME_BYTES - 1;
    if (at === end - 2 || topicEnd - start < TOPIC_NAME_BYTES || bytes[topicEnd] !== VALUE_END) return false;
    if (readI32(bytes, at - 8) !== REAL || readI32(bytes, at - 4) !== _QID) return false;
    let topicStart = topicEnd;
    while (topicStart > start && bytes[topicStart - 1]! > VALUE_END) topicStart--;
    const nameStart = topicStart - 1 - TOPIC_NAME_BYTES;
    if (topicStart === topicEnd || nameStart < start || bytes[topicStart - 1] !== NAME_END) return false;
    if (nameStart > start && bytes[nameStart - 1] !== VALUE_END) return false;
    if (readI32(bytes, nameStart) !== REAL || readI32(bytes, nameStart + 4) !== _TOP || readI32(bytes, nameStart + 6) !== OPIC)
      return false;
    this.topic = topics.text(bytes, topicStart, topicEnd);
    this.queueId = queueId;
    return true;
  }
}

const topics = new Interner();
const QUEUE_NAME_BYTES = 'REAL_QID'.length;
const TOPIC_NAME_BYTES = 'REAL_TOPIC'.length;
const BYTES_MIN = 'REAL_QID10'.length;
/** Of a number of ten digits. */
const WEIGHT_MAX = 1e9;
const REAL = word('REAL');
const _QID = word('_QID');
const _TOP = word('_TOP');
const OPIC = word('OPIC');

function word(text: string): number {
  return Buffer.from(text, 'latin1').readInt32BE(0);
}
