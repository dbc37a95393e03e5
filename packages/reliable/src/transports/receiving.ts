/**
 * The deliveries a subscription has in hand, for brokers that leave the order of acknowledgements to their consumers (RabbitMQ, memory).
 * Messages of one key are received one after the other, others side by side; how many there are at once is the broker's prefetch.
 *
 * What comes back as `again` stays in hand and is tried again after a growing wait, because the reason is nearly always this process
 * (its database is away): going back to the broker at once would be a hot loop, and would count towards the broker's delivery limit. Only
 * after `holdMs` it goes `back`, with everything that waits behind it in its key, in order: another consumer may do better, and no broker
 * lets a consumer sit on messages for ever.
 *
 * A lane is `busy` (its head is being received), `waiting` (its head is to be tried again) or gone (empty).
 */
import { backoffMs, type Clock, type Random, type Timer, type Timers } from '@tallystick/base';
import { PassingMap } from '../passing.ts';
import type { Delivery, Receipt } from './transport.ts';

/** What the broker is told. */
export type Settled = 'done' | 'back';

export interface ReceivingPorts {
  readonly timers: Timers;
  readonly clock: Clock;
  readonly random: Random;
}

export interface ReceivingOptions {
  readonly againFirstMs: number;
  readonly againMaxMs: number;
  /** How long a message that comes back as `again` is kept in hand before the broker gets it back. */
  readonly holdMs: number;
}

interface InHand {
  readonly delivery: Delivery;
  readonly settle: (as: Settled) => void;
  readonly since: number;
  failures: number;
  /** The broker has taken it back: its receipt interests nobody any more. */
  gone: boolean;
}

interface Lane {
  readonly waiting: InHand[];
  head: InHand | undefined;
  timer: Timer | undefined;
}

export class Receiving {
  readonly #receive: (delivery: Delivery) => Promise<Receipt>;
  readonly #options: ReceivingOptions;
  readonly #ports: ReceivingPorts;
  readonly #lanes = new PassingMap<string | symbol, Lane>();
  #stopping = false;
  /** Nothing is given back: the broker will take it. */
  #keeping = false;
  #idle: (() => void)[] = [];

  constructor(receive: (delivery: Delivery) => Promise<Receipt>, options: ReceivingOptions, ports: ReceivingPorts) {
    this.#receive = receive;
    this.#options = options;
    this.#ports = ports;
  }

  /** Takes a delivery; `settle` is called at most once, and not at all after `dropAll`. */
  take(delivery: Delivery, settle: (as: Settled) => void): void {
    if (this.#keeping) return;
    if (this.#stopping) return settle('back');
    const name = delivery.key ?? Symbol('no key');
    const lane = this.#lanes.get(name) ?? { waiting: [], head: undefined, timer: undefined };
    this.#lanes.set(name, lane);
    lane.waiting.push({ delivery, settle, since: this.#ports.clock.monotonic(), failures: 0, gone: false });
    if (lane.head === undefined) this.#next(name, lane);
  }

  /** The broker takes back everything by itself (its connection is lost). What is being received runs on; nobody hears its receipt. */
  dropAll(): void {
    for (const [name, lane] of this.#lanes.entries()) {
      lane.waiting.length = 0;
      if (lane.timer !== undefined) {
        this.#ports.timers.cancel(lane.timer);
        lane.timer = undefined;
        lane.head = undefined;
        this.#lanes.delete(name);
      } else if (lane.head !== undefined) lane.head.gone = true;
    }
    this.#tellIdle();
  }

  /** Gives back what is not being received, and waits for the rest. */
  stop(): Promise<void> {
    this.#stopping = true;
    for (const [name, lane] of this.#lanes.entries()) {
      if (lane.timer !== undefined) {
        this.#ports.timers.cancel(lane.timer);
        this.#giveBack(name, lane);
      } else for (const one of lane.waiting.splice(0)) one.settle('back');
    }
    return this.#untilIdle();
  }

  /**
   * Begins nothing more and waits for what is being received. The rest is not given back but stays where it is, for the broker to take with the
   * channel: given back one by one it could go to the next consumer while an earlier message of its key is still being received here.
   */
  finish(): Promise<void> {
    this.#stopping = this.#keeping = true;
    for (const [name, lane] of this.#lanes.entries()) {
      lane.waiting.length = 0;
      if (lane.timer === undefined) continue;
      this.#ports.timers.cancel(lane.timer);
      this.#lanes.delete(name);
    }
    return this.#untilIdle();
  }

  #untilIdle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.#tellIdle();
    });
  }

  #next(name: string | symbol, lane: Lane): void {
    lane.head = lane.waiting.shift();
    if (lane.head === undefined) {
      this.#lanes.delete(name);
      this.#tellIdle();
    } else this.#start(name, lane);
  }

  #start(name: string | symbol, lane: Lane): void {
    const ended = (receipt: Receipt): void => this.#ended(name, lane, receipt);
    try {
      void this.#receive(lane.head!.delivery).then(ended, () => ended('again'));
    } catch {
      // A receiver that throws instead of rejecting; not inside this call, so that a long lane cannot grow the stack.
      void Promise.resolve('again' as const).then(ended);
    }
  }

  #ended(name: string | symbol, lane: Lane, receipt: Receipt): void {
    const head = lane.head!;
    if (head.gone) return this.#next(name, lane);
    if (receipt === 'done') {
      head.settle('done');
      return this.#next(name, lane);
    }
    const heldMs = this.#ports.clock.monotonic() - head.since;
    if (this.#stopping || heldMs >= this.#options.holdMs) return this.#giveBack(name, lane);
    head.failures++;
    const { againFirstMs, againMaxMs } = this.#options;
    const waitMs = backoffMs({ firstMs: againFirstMs, maxMs: againMaxMs }, head.failures, this.#ports.random.u32());
    lane.timer = this.#ports.timers.after(waitMs, () => {
      lane.timer = undefined;
      this.#start(name, lane);
    });
  }

  /** The head first: a broker puts what comes back in front, in the order of its coming. */
  #giveBack(name: string | symbol, lane: Lane): void {
    const all = this.#keeping ? [] : [lane.head!, ...lane.waiting.splice(0)];
    lane.head = undefined;
    lane.timer = undefined;
    this.#lanes.delete(name);
    for (const one of all) one.settle('back');
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#lanes.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
