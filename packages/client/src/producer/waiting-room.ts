/**
 * All lines of waiting sends of a producer together: who joins and who may not, whose time is over, how long they have waited, and who
 * wants to know when nobody waits any more. Each send leaves it once: into a batch, or with an error.
 */
import type { ProducerOptions } from '../options.ts';
import { type SendError, fail } from '../errors.ts';
import { WaitTimes } from './metrics.ts';
import type { SendDone } from './producer-batch.ts';
import { WaitingCount, WaitingLine, type WaitingSend } from './waiting-sends.ts';

export interface RoomOwner {
  /** There is something to do at this monotonic time. */
  wakeAt(ms: number): void;
  /** A send has failed; its callback is to be called. */
  failed(done: SendDone, error: SendError): void;
  /** The error for a send whose time is over. */
  lateness(send: WaitingSend, line: WaitingLine): SendError;
}

export class WaitingRoom {
  readonly count: WaitingCount;
  /** Sends that wait for memory. */
  readonly memory: WaitingLine;
  readonly times = new WaitTimes();
  readonly #maxBlockMs: number;
  readonly #owner: RoomOwner;
  #readies: (() => void)[] = [];

  constructor(options: ProducerOptions, owner: RoomOwner) {
    this.count = new WaitingCount(options.maxPendingRecords, options.maxPendingBytes);
    this.memory = new WaitingLine('memory', this.count);
    this.#maxBlockMs = options.maxBlockMs;
    this.#owner = owner;
  }

  /** Puts a send at the end of a line; the error when too many wait. */
  join(line: WaitingLine, send: WaitingSend): SendError | undefined {
    const refusal = this.count.refusal(send.bytes);
    if (refusal !== undefined) return fail('TOO_MANY_WAITING', refusal);
    line.join(send);
    this.#owner.wakeAt(send.untilMs);
    return undefined;
  }

  /** A send that joins now gives up then. */
  untilMs(nowMs: number): number {
    return nowMs + this.#maxBlockMs;
  }

  /** Takes a send out of its line: it has got what it waited for. */
  leave(send: WaitingSend, nowMs: number): void {
    send.line?.leave(send);
    this.times.note(nowMs - send.sinceMs);
  }

  /** Takes a send out of its line and fails it. False: it does not wait any more. */
  fail(send: WaitingSend, error: SendError): boolean {
    if (send.line === undefined) return false;
    send.line.leave(send);
    this.#owner.failed(send.done, error);
    return true;
  }

  /** Fails everyone who stands in a line now; who joins it from a callback goes on waiting. */
  failAll(line: WaitingLine, error: SendError): void {
    for (const send of [...line.all()]) if (send.line === line) this.fail(send, error);
  }

  /** Fails everyone in a line whose time is over. */
  expire(line: WaitingLine, nowMs: number): void {
    for (const send of line.expired(nowMs)) {
      this.times.note(nowMs - send.sinceMs);
      this.#owner.failed(send.done, this.#owner.lateness(send, line));
    }
    if (line.length > 0) this.#owner.wakeAt(line.earliestMs);
  }

  /** `done` as soon as nobody waits. */
  whenEmpty(done: () => void): void {
    if (this.count.records === 0) done();
    else this.#readies.push(done);
  }

  /** Tells those who want to know, if nobody waits now. */
  tellIfEmpty(): void {
    if (this.count.records > 0 || this.#readies.length === 0) return;
    for (const ready of this.#readies.splice(0)) ready();
  }
}
