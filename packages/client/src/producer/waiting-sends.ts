/**
 * Sends that cannot be appended yet, because a topic has no route or the buffer no memory. They keep their place: as long as one
 * waits, later sends of the same topic (route), or all later sends (memory), queue behind it, so no send overtakes another. Their number is
 * bounded over all lines, their waiting in time; who would be one too many is refused at once.
 */
import type { SendDone } from './producer-batch.ts';
import type { ProducerRecord, SendMarks } from './record.ts';

export interface WaitingSend {
  readonly record: ProducerRecord;
  readonly marks: SendMarks | undefined;
  done: SendDone;
  /** Monotonic ms at which it gives up. Ascends within a line. */
  readonly untilMs: number;
}

/** How many sends wait in all lines together, and how many may. */
export class WaitingCount {
  readonly max: number;
  now = 0;

  constructor(max: number) {
    this.max = max;
  }
}

/** One line of waiting sends. */
export class WaitingLine {
  readonly #count: WaitingCount;
  #sends: WaitingSend[] = [];
  #head = 0;

  constructor(count: WaitingCount) {
    this.#count = count;
  }

  get length(): number {
    return this.#sends.length - this.#head;
  }

  get first(): WaitingSend | undefined {
    return this.#sends[this.#head];
  }

  /** False: too many wait already. */
  join(send: WaitingSend): boolean {
    if (this.#count.now >= this.#count.max) return false;
    this.#count.now++;
    this.#sends.push(send);
    return true;
  }

  leave(): WaitingSend | undefined {
    const send = this.#sends[this.#head];
    if (send === undefined) return undefined;
    this.#count.now--;
    this.#head++;
    if (this.#head >= 256 && this.#head * 2 >= this.#sends.length) {
      this.#sends = this.#sends.slice(this.#head);
      this.#head = 0;
    }
    return send;
  }

  /** Everyone in another line goes to the end of this one, in order. */
  takeOver(other: WaitingLine): void {
    for (let send = other.leave(); send !== undefined; send = other.leave()) {
      this.#count.now++;
      this.#sends.push(send);
    }
  }

  each(visit: (send: WaitingSend) => void): void {
    for (let at = this.#head; at < this.#sends.length; at++) visit(this.#sends[at]!);
  }
}
