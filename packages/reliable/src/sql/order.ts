/**
 * Savepoints of one transaction lie one inside the other. Two pieces of work that are begun at once on one connection would roll back
 * each other's effects, so they go one after the other; but work inside of work goes at once, because the outer one waits for it. What is
 * inside of what is known by the asynchronous context. Work that has lost it on the way (an event, a queue, a pool that calls back) would wait
 * for the work it is part of, and for ever; so nobody waits longer than {@link TURN_MS}.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { systemTimers } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { comesBack } from '../waits.ts';
import { run, type Steps } from './statement.ts';

/** How long work waits for what came before it in its transaction. */
export const TURN_MS = 30_000;

export class Order {
  readonly #session: object;
  readonly #around: Order | undefined;
  #last: Promise<void> = Promise.resolve();
  /** Pieces of work that wait or run. */
  #here = 0;

  private constructor(session: object, around?: Order) {
    this.#session = session;
    this.#around = around;
  }

  /** That of the work which is running here on the session, else that of the session. */
  static of(session: object): Order {
    for (let around = inside.getStore(); around !== undefined; around = around.#around) {
      if (around.#session === session) return around;
    }
    let order = outermost.get(session);
    if (order === undefined) outermost.set(session, (order = new Order(session)));
    return order;
  }

  /** The steps when all are over that came before. Throws TURN_TIMEOUT. */
  *inTurn<T>(steps: Steps<T>): Steps<T> {
    const before = this.#last;
    let leave!: () => void;
    this.#last = new Promise((resolve) => (leave = resolve));
    const waits = this.#here++ > 0;
    try {
      if (waits) yield* run({ call: () => inTime(before) });
      return yield* steps;
    } finally {
      this.#here--;
      // Whoever comes after one that gave up still waits for what that one waited for.
      void before.then(leave);
    }
  }

  /** Runs the work of a turn: what it begins has an order of its own. */
  within<T>(work: () => T): T {
    return inside.run(new Order(this.#session, inside.getStore()), work);
  }
}

async function inTime(before: Promise<void>): Promise<void> {
  if (!(await comesBack(before, TURN_MS, systemTimers()))) throw fail('TURN_TIMEOUT', `${TURN_MS} ms`);
}

const inside = new AsyncLocalStorage<Order>();
const outermost = new WeakMap<object, Order>();
