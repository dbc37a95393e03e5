import { readI32 } from '@tallystick/base';
import { Interner, PropertyLocator, PropertyName, VALUE_END } from '@tallystick/remoting';

/** Properties the broker acts on, as slots of {@link PropertyScan}. */
export const Slot = {
  UNIQUE_KEY: 0,
  TAGS: 1,
  DELAY: 2,
  TRANSACTION: 3,
  PRODUCER_GROUP: 4,
  REAL_TOPIC: 5,
  REAL_QUEUE: 6,
  RETRY_TOPIC: 7,
  ORIGIN_ID: 8,
  IMMUNITY_SECONDS: 9,
} as const;

/** One pass over a block of properties that notes where those lie which the broker acts on; made once, run per message. */
export class PropertyScan extends PropertyLocator {
  /** The block is empty or its last value has its end mark, so that more can be appended. */
  isClosed = true;

  constructor() {
    super([
      PropertyName.UNIQUE_KEY,
      PropertyName.TAGS,
      PropertyName.DELAY,
      PropertyName.TRANSACTION_PREPARED,
      PropertyName.PRODUCER_GROUP,
      PropertyName.REAL_TOPIC,
      PropertyName.REAL_QUEUE_ID,
      PropertyName.RETRY_TOPIC,
      PropertyName.ORIGIN_MESSAGE_ID,
      PropertyName.CHECK_IMMUNITY_TIME_IN_SECONDS,
    ]);
  }

  run(bytes: Buffer, start: number, end: number): this {
    this.locate(bytes, start, end);
    this.isClosed = start === end || bytes[end - 1] === VALUE_END;
    return this;
  }

  /** As `text`, but remembered: for topics and groups, which recur. */
  name(slot: number): string {
    return this.has(slot) ? names.text(this.bytes, this.starts[slot]!, this.ends[slot]!) : '';
  }

  /** The value as a whole number ≥ 0; -1 when it is absent or no such number. */
  number(slot: number): number {
    const start = this.starts[slot]!;
    const end = this.ends[slot]!;
    if (start < 0 || end - start > 10) return -1;
    let value = 0;
    for (let at = start; at < end; at++) {
      const digit = this.bytes[at]! - 48;
      if (digit < 0 || digit > 9) return -1;
      value = value * 10 + digit;
    }
    return value;
  }

  /** "true" in any case, as Java reads it. */
  isTrue(slot: number): boolean {
    const start = this.starts[slot]!;
    if (start < 0 || this.ends[slot]! - start !== 4) return false;
    const { bytes } = this;
    return (readI32(bytes, start) | LOWER_CASE) === TRUE;
  }
}

/** Four letters of ASCII become lower case; nothing else becomes a letter of "true". */
const LOWER_CASE = 0x20202020;
const TRUE = 0x74727565;
const names = new Interner();
