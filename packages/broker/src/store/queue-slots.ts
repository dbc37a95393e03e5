import { viewOf } from '@tallystick/base';
import type { HotRun } from './queue-entries.ts';
import type { QueueRef } from './queue-ref.ts';
import type { QueueTable } from './queue-table.ts';

/** What a scan remembers of a queue under one spelling of its topic. */
export class QueueSlot {
  readonly queue: QueueRef;
  /** All of its messages are told to the derived parts that hear messages. */
  readonly isTold: boolean;
  /** Its tag fields are not hashes of TAGS. */
  readonly asksTags: boolean;
  /** The run that was pushed to last; of which segment it says itself. */
  run: HotRun | undefined;
  /** What came after this one last time: queues tend to take turns. */
  next: QueueSlot = this;
  readonly topic: DataView;
  readonly hash: number;

  constructor(queue: QueueRef, topic: DataView, hash: number, isTold: boolean, asksTags: boolean) {
    this.queue = queue;
    this.topic = topic;
    this.hash = hash;
    this.isTold = isTold;
    this.asksTags = asksTags;
  }
}

/** Finds the queue of a record by the bytes of its topic and the queue's number: open addressing, at most half full. */
export class SlotTable {
  readonly #queues: QueueTable;
  readonly #isTold: (topic: string) => boolean;
  readonly #asksTags: (topic: string) => boolean;
  #slots: (QueueSlot | undefined)[] = new Array<QueueSlot | undefined>(FIRST_SLOTS).fill(undefined);
  #used = 0;
  #last: QueueSlot | undefined;

  constructor(queues: QueueTable, isTold: (topic: string) => boolean, asksTags: (topic: string) => boolean) {
    this.#queues = queues;
    this.#isTold = isTold;
    this.#asksTags = asksTags;
  }

  of(bytes: Buffer, view: DataView, start: number, end: number, queueId: number): QueueSlot {
    const last = this.#last;
    if (last !== undefined) {
      const { next } = last;
      if (next.queue.queueId === queueId && isSame(next.topic, view, start, end - start)) return (this.#last = next);
    }
    const slot = this.#search(bytes, view, start, end, queueId);
    if (last !== undefined) last.next = slot;
    return (this.#last = slot);
  }

  #search(bytes: Buffer, view: DataView, start: number, end: number, queueId: number): QueueSlot {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const length = end - start;
    const hash = length < 4 ? length : hashOf(view.getInt32(start), view.getInt32(end - 4), length, queueId);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = slots[at];
      if (slot === undefined) return this.#add(bytes, start, end, queueId, hash);
      if (slot.hash === hash && slot.queue.queueId === queueId && isSame(slot.topic, view, start, length)) return slot;
    }
  }

  #add(bytes: Buffer, start: number, end: number, queueId: number, hash: number): QueueSlot {
    const queue = this.#queues.ofBytes(bytes, start, end, queueId);
    const topic = viewOf(Buffer.from(bytes.subarray(start, end)));
    const slot = new QueueSlot(queue, topic, hash, this.#isTold(queue.topic), this.#asksTags(queue.topic));
    if (++this.#used * 2 > this.#slots.length) this.#grow();
    put(this.#slots, slot);
    return slot;
  }

  #grow(): void {
    const slots = new Array<QueueSlot | undefined>(this.#slots.length * 2).fill(undefined);
    for (const slot of this.#slots) if (slot !== undefined) put(slots, slot);
    this.#slots = slots;
  }
}

function put(slots: (QueueSlot | undefined)[], slot: QueueSlot): void {
  const mask = slots.length - 1;
  let at = slot.hash & mask;
  while (slots[at] !== undefined) at = (at + 1) & mask;
  slots[at] = slot;
}

/** The ends of names tell most of them apart. */
function hashOf(head: number, tail: number, length: number, queueId: number): number {
  const mixed = Math.imul(head, 0x9e3779b1) ^ Math.imul(tail ^ length, 0x85ebca6b) ^ Math.imul(queueId + 1, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 15)) & 0x3fffffff;
}

function isSame(topic: DataView, view: DataView, start: number, length: number): boolean {
  if (topic.byteLength !== length) return false;
  let at = 0;
  for (; at + 4 <= length; at += 4) if (topic.getInt32(at) !== view.getInt32(start + at)) return false;
  for (; at < length; at++) if (topic.getUint8(at) !== view.getUint8(start + at)) return false;
  return true;
}

const FIRST_SLOTS = 256;
