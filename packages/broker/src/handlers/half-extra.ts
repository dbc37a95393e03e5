import { copyWords, ViewCache, viewOf } from '@tallystick/base';
import { PropertyName } from '@tallystick/remoting';
import { Slot, type PropertyScan } from '../property-scan.ts';
import type { AppendMessage } from '../store/append-message.ts';

/** Properties the broker adds to a half message that says what clients say: all but the key is made once per queue. */
export class HalfExtras {
  /** By topic, then queue. */
  readonly #extras = new Map<string, HalfExtra[]>();
  readonly #keys = new ViewCache();

  /** Adds them to `m`, whose properties have been scanned. They are valid until the next call. */
  add(m: AppendMessage, scan: PropertyScan, topic: string, queueId: number): void {
    const keyStart = scan.starts[Slot.UNIQUE_KEY]!;
    const keyEnd = scan.ends[Slot.UNIQUE_KEY]!;
    const keyBytes = keyEnd - keyStart;
    let ofTopic = this.#extras.get(topic);
    if (ofTopic === undefined) {
      if (this.#extras.size >= TOPICS_MAX) this.#extras.clear();
      this.#extras.set(topic, (ofTopic = []));
    }
    let extra = ofTopic[queueId];
    if (extra === undefined || extra.keyBytes !== keyBytes) ofTopic[queueId] = extra = new HalfExtra(topic, queueId, keyBytes);
    copyWords(this.#keys.of(scan.bytes), keyStart, keyEnd, extra.view, KEY_AT);
    m.setExtra(extra.bytes, 0, extra.bytes.length);
  }
}

class HalfExtra {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly keyBytes: number;

  constructor(topic: string, queueId: number, keyBytes: number) {
    const real = `\u0002${encodedProperty(PropertyName.REAL_TOPIC, topic)}${encodedProperty(PropertyName.REAL_QUEUE_ID, String(queueId))}`;
    this.bytes = Buffer.concat([TRANSACTION_ID, Buffer.alloc(keyBytes), Buffer.from(real)]);
    this.view = viewOf(this.bytes);
    this.keyBytes = keyBytes;
  }
}

export function encodedProperty(name: string, value: string): string {
  return `${name}\u0001${value}\u0002`;
}

const TRANSACTION_ID = Buffer.from(`${PropertyName.TRANSACTION_ID}\u0001`);
const KEY_AT = TRANSACTION_ID.length;
/** Topics whose properties are kept; made anew when there are more. */
const TOPICS_MAX = 1024;
