import {
  decodeStoredMessage,
  encodedSize,
  encodeStoredMessage,
  offsetMessageId,
  parseHost,
  PROPERTIES_BYTES_MAX,
  PropertyName,
  RequestCode,
  type Peer,
} from '@tallystick/remoting';
import type { ProducerGroups } from '../groups/producer-groups.ts';
import { LOCAL_HOST } from '../identity.ts';
import { encodeProperty } from '../properties-edit.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import type { Store } from '../store/store.ts';
import { HALF_TOPIC } from '../topics/system-topics.ts';
import type { HalfAsker } from './check-back.ts';
import type { HalfRow } from './half-row.ts';

/**
 * Puts a check-back (39) on the wire: to one connection of the producer group, in turn, that takes output. The body is the half
 * message as a consumer would see it, under its real topic and queue, with the number of this question; the offsets, in it and in
 * the header, are the half's own and stay the same however often it is asked.
 */
export class CheckAsker implements HalfAsker {
  readonly #store: Store;
  readonly #producers: ProducerGroups<Peer>;
  readonly #brokerName: string;
  readonly #scan = new PropertyScan();

  constructor(store: Store, producers: ProducerGroups<Peer>, brokerName: string) {
    this.#store = store;
    this.#producers = producers;
    this.#brokerName = brokerName;
  }

  hasProducer(group: string): boolean {
    return this.#producers.has(group);
  }

  ask(row: HalfRow, times: number, done: (sent: boolean) => void): void {
    this.#store.readRecord(row.position, (error, bytes) => {
      const peer = error === undefined ? this.#producers.pick(row.group, isWritable) : undefined;
      done(peer !== undefined && this.#send(peer, row, bytes, times));
    });
  }

  #send(peer: Peer, row: HalfRow, bytes: Buffer, times: number): boolean {
    const half = decodeStoredMessage(bytes);
    if (typeof half === 'string') return false;
    const scan = this.#scan.run(half.properties, 0, half.properties.length);
    const count = Buffer.concat([
      scan.isClosed ? NOTHING : Buffer.from([2]),
      encodeProperty(PropertyName.TRANSACTION_CHECK_TIMES, String(times)),
    ]);
    const fits = half.properties.length + count.length <= PROPERTIES_BYTES_MAX;
    const message = {
      ...half,
      topic: scan.text(Slot.REAL_TOPIC),
      queueId: Math.max(0, scan.number(Slot.REAL_QUEUE)),
      properties: fits ? Buffer.concat([half.properties, count]) : half.properties,
    };
    const body = Buffer.allocUnsafe(encodedSize(message));
    encodeStoredMessage(message, body, 0);
    const fields = {
      topic: HALF_TOPIC,
      tranStateTableOffset: row.offset,
      commitLogOffset: row.position,
      msgId: row.id,
      transactionId: row.id,
      offsetMsgId: offsetMessageId(parseHost(half.storeHost) ?? LOCAL_HOST, row.position),
      bname: this.#brokerName,
    };
    return peer.oneway(RequestCode.CHECK_TRANSACTION_STATE, fields, body);
  }
}

const NOTHING = Buffer.alloc(0);

function isWritable(peer: Peer): boolean {
  return peer.isOpen && !peer.congested;
}
