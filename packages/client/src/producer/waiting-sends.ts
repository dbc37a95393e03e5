/**
 * Sends that cannot be appended yet, because a topic has no route, its route no such queue, or the buffer no memory. They keep their
 * place: as long as one waits, later sends of the same topic (route), queue (missing queue), or all later sends (memory) queue
 * behind it, so no send overtakes another of its queue. Their number and bytes are bounded over all lines, their waiting in time; who would be
 * one too many is refused at once.
 */
import type { FollowedSend } from './interceptors.ts';
import type { Lane, SendDone } from './producer-batch.ts';
import type { ProducerRecord, SendMarks } from './record.ts';

/** Why a send waits. */
export type WaitReason = 'route' | 'queue' | 'memory';

/** A topic that sends wait for. */
export interface WaitingTopic {
  /** How many do. */
  waiting: number;
}

export class WaitingSend {
  /** Its topic, as the producer keeps it (TopicLanes). */
  readonly topic: WaitingTopic;
  /** A copy, serialized; its body as it will travel; and the queue that the user's partitioner has chosen for it. */
  readonly record: ProducerRecord;
  readonly value: Uint8Array | string;
  chosen: Lane | undefined;
  readonly marks: SendMarks | undefined;
  done: SendDone;
  readonly followed: FollowedSend | undefined;
  /** What it needs in a batch; and what it holds while it waits: of a compressed body both forms. */
  readonly needBytes: number;
  readonly bytes: number;
  /** Monotonic ms at which it began to wait, and at which it gives up. */
  readonly sinceMs: number;
  readonly untilMs: number;
  /** The line it stands in; undefined once it has left. */
  line: WaitingLine | undefined;
  before: WaitingSend | undefined;
  behind: WaitingSend | undefined;

  constructor(
    topic: WaitingTopic,
    record: ProducerRecord,
    value: Uint8Array | string,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
    needBytes: number,
    sinceMs: number,
    untilMs: number,
  ) {
    this.topic = topic;
    this.record = record;
    this.value = value;
    this.marks = marks;
    this.done = done;
    this.followed = followed;
    this.needBytes = needBytes;
    this.bytes = value === record.value ? needBytes : needBytes + Buffer.byteLength(record.value);
    this.sinceMs = sinceMs;
    this.untilMs = untilMs;
  }
}

/** What waits in all lines together, and how much may. */
export class WaitingCount {
  readonly maxRecords: number;
  readonly maxBytes: number;
  records = 0;
  bytes = 0;

  constructor(maxRecords: number, maxBytes: number) {
    this.maxRecords = maxRecords;
    this.maxBytes = maxBytes;
  }

  /** Why a send of `bytes` may not wait too; undefined when it may. */
  refusal(bytes: number): string | undefined {
    if (this.records >= this.maxRecords) return `${this.maxRecords} (maxPendingRecords)`;
    if (this.bytes + bytes <= this.maxBytes) return undefined;
    return `${this.bytes} bytes, this one has ${bytes} and the limit is ${this.maxBytes} (maxPendingBytes)`;
  }
}

/** One line of waiting sends. */
export class WaitingLine {
  readonly reason: WaitReason;
  readonly #count: WaitingCount;
  first: WaitingSend | undefined;
  #last: WaitingSend | undefined;
  length = 0;
  /** No send in this line gives up earlier (one that has left may have been the earliest). */
  #earliestMs = Infinity;

  constructor(reason: WaitReason, count: WaitingCount) {
    this.reason = reason;
    this.#count = count;
  }

  /** Monotonic ms at which the first one may have to give up. */
  get earliestMs(): number {
    return this.#earliestMs;
  }

  join(send: WaitingSend): void {
    send.line = this;
    send.before = this.#last;
    if (this.#last === undefined) this.first = send;
    else this.#last.behind = send;
    this.#last = send;
    send.topic.waiting++;
    this.length++;
    this.#count.records++;
    this.#count.bytes += send.bytes;
    if (send.untilMs < this.#earliestMs) this.#earliestMs = send.untilMs;
  }

  /** Takes a send out, wherever it stands. */
  leave(send: WaitingSend): void {
    if (send.before === undefined) this.first = send.behind;
    else send.before.behind = send.behind;
    if (send.behind === undefined) this.#last = send.before;
    else send.behind.before = send.before;
    send.line = send.before = send.behind = undefined;
    send.topic.waiting--;
    this.length--;
    this.#count.records--;
    this.#count.bytes -= send.bytes;
    if (this.length === 0) this.#earliestMs = Infinity;
  }

  /** Everyone in another line for whom `may` holds goes to the end of this one, in order. */
  takeOver(other: WaitingLine, may: (send: WaitingSend) => boolean = always): void {
    for (const send of other.all()) {
      if (!may(send)) continue;
      other.leave(send);
      this.join(send);
    }
  }

  /** Takes out everyone whose time is over, in order. */
  expired(nowMs: number): readonly WaitingSend[] {
    if (this.#earliestMs > nowMs) return NOBODY;
    const expired: WaitingSend[] = [];
    this.#earliestMs = Infinity;
    for (const send of this.all()) {
      if (send.untilMs <= nowMs) {
        this.leave(send);
        expired.push(send);
      } else if (send.untilMs < this.#earliestMs) this.#earliestMs = send.untilMs;
    }
    return expired;
  }

  /** Everyone, in order; the one just seen may leave. */
  *all(): Iterable<WaitingSend> {
    for (let send = this.first; send !== undefined;) {
      const next: WaitingSend | undefined = send.behind;
      yield send;
      send = next;
    }
  }
}

const NOBODY: readonly WaitingSend[] = [];

function always(): boolean {
  return true;
}
