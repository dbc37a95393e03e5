import { copyWords, ViewCache, viewOf } from '@tallystick/base';
import { PropertyName } from '@tallystick/remoting';
import { Slot, type PropertyScan } from '../property-scan.ts';
import type { AppendMessage } from '../store/append-message.ts';

/**
 * Properties the broker adds to a half message that says what clients say: `__transactionId__` with the key, and where it belongs. The
 * second part is made once per queue. All lie in one buffer, so that whoever copies them needs one view.
 */
export class HalfExtras {
  /** By topic, then queue. */
  readonly #places = new Map<string, DataView[]>();
  readonly #keys = new ViewCache();
  #bytes: Buffer = NONE;
  #view = viewOf(NONE);

  /** Adds them to `m`, whose properties have been scanned. They are valid until the next call. */
  add(m: AppendMessage, scan: PropertyScan, topic: string, queueId: number): void {
    const keyStart = scan.starts[Slot.UNIQUE_KEY]!;
    const keyEnd = scan.ends[Slot.UNIQUE_KEY]!;
    const place = this.#placeOf(topic, queueId);
    const bytes = KEY_AT + keyEnd - keyStart + place.byteLength;
    if (bytes > this.#bytes.length) this.#makeRoom(bytes);
    const view = this.#view;
    const end = copyWords(this.#keys.of(scan.bytes), keyStart, keyEnd, view, KEY_AT);
    m.setExtra(this.#bytes, 0, copyWords(place, 0, place.byteLength, view, end));
  }

  #placeOf(topic: string, queueId: number): DataView {
    let ofTopic = this.#places.get(topic);
    if (ofTopic === undefined) {
      if (this.#places.size >= TOPICS_MAX) this.#places.clear();
      this.#places.set(topic, (ofTopic = []));
    }
    return (ofTopic[queueId] ??= viewOf(Buffer.from(`\u0002${placeProperties(topic, queueId)}`)));
  }

  #makeRoom(bytes: number): void {
    this.#bytes = Buffer.alloc(2 * bytes);
    this.#view = viewOf(this.#bytes);
    TRANSACTION_ID.copy(this.#bytes);
  }
}

/** Where a half or a delayed message belongs. */
export function placeProperties(topic: string, queueId: number): string {
  return encodedProperty(PropertyName.REAL_TOPIC, topic) + encodedProperty(PropertyName.REAL_QUEUE_ID, String(queueId));
}

export function encodedProperty(name: string, value: string): string {
  return `${name}\u0001${value}\u0002`;
}

const NONE = Buffer.alloc(0);
const TRANSACTION_ID = Buffer.from(`${PropertyName.TRANSACTION_ID}\u0001`);
const KEY_AT = TRANSACTION_ID.length;
/** Topics whose properties are kept; made anew when there are more. */
const TOPICS_MAX = 1024;
