/**
 * Savepoints of one transaction lie one inside the other. Two pieces of work that are begun at once on one connection would roll back
 * each other's effects, so they go one after the other; but work inside of work goes at once, because the outer one waits for it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { run, type Steps } from './statement.ts';

export class Order {
  readonly #session: object;
  readonly #around: Order | undefined;
  #last: Promise<void> = Promise.resolve();

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

  /** The steps when all are over that came before. */
  *inTurn<T>(steps: Steps<T>): Steps<T> {
    const before = this.#last;
    let leave!: () => void;
    this.#last = new Promise((resolve) => (leave = resolve));
    try {
      yield* run({ call: () => before });
      return yield* steps;
    } finally {
      leave();
    }
  }

  /** Runs the work of a turn: what it begins has an order of its own. */
  within<T>(work: () => T): T {
    return inside.run(new Order(this.#session, inside.getStore()), work);
  }
}

const inside = new AsyncLocalStorage<Order>();
const outermost = new WeakMap<object, Order>();
