/**
 * A broker inside this process, both sides of it, for tests and for first steps: it forgets everything with the process. What a real
 * broker does on a bad day can be ordered from it: being down, refusing, losing a confirmation or a message, delivering twice or out of order.
 *
 * A message goes to the queue of its routing key (else of its topic) and to every queue bound to that name.
 */
import type { Clock, Random, Timers } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { AFTER_A_GAP, CONFIRMED } from './key-chains.ts';
import { Receiving, type ReceivingOptions, type ReceivingPorts } from './receiving.ts';
import type {
  Delivery,
  OutgoingMessage,
  PublishOutcome,
  Receipt,
  SubscribeOptions,
  Subscriber,
  Subscription,
  Transport,
} from './transport.ts';

/**
 * - `rejected`, `unroutable`, `unavailable`: not stored, and the sender is told so;
 * - `confirmation lost`: stored, and the sender hears `unknown`;
 * - `message lost`: not stored, and the sender hears `unknown`;
 * - `duplicate`: stored twice, and confirmed.
 */
export type MemoryFault = 'rejected' | 'unroutable' | 'unavailable' | 'confirmation lost' | 'message lost' | 'duplicate';

export interface MemoryBrokerSettings {
  /** Whether publishing makes the queue of that name (default), as RocketMQ may; otherwise it is unroutable, as in RabbitMQ. */
  readonly autoCreate?: boolean | undefined;
  /** Whether batches may hold several messages of one key. Default false. */
  readonly keepsOrder?: boolean | undefined;
  /** Most messages waiting in a queue; publishing to a full one is `unavailable`. */
  readonly queueMax?: number | undefined;
  /** Wait before what came back as `again` is received once more. */
  readonly againMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly timers?: Timers | undefined;
  readonly random?: Random | undefined;
}

const QUEUE_MAX = 1_000_000;
const PREFETCH = 100;
const HOLD_MS = 1_000;

export function memoryBroker(settings: MemoryBrokerSettings = {}): MemoryBroker {
  return new MemoryBroker(settings);
}

export class MemoryBroker implements Transport, Subscriber {
  readonly keepsOrder: boolean;
  /** Everything ever stored, in order, repeats included. */
  readonly stored: OutgoingMessage[] = [];
  /** Faults on demand; `push` counts how often this id has come, from 1. */
  fault: (message: OutgoingMessage, push: number) => MemoryFault | undefined = () => undefined;
  /** A consumer gets any of the first `reorder` messages that wait; 1: in order. */
  reorder = 1;
  readonly #autoCreate: boolean;
  readonly #queueMax: number;
  readonly #ports: ReceivingPorts;
  readonly #receiving: ReceivingOptions;
  readonly #queues = new Map<string, Queue>();
  /** Route → queues. */
  readonly #bindings = new Map<string, Set<Queue>>();
  readonly #pushes = new Map<string, number>();
  #down = false;

  constructor(settings: MemoryBrokerSettings = {}) {
    const { autoCreate, keepsOrder, queueMax, againMs = 10, clock, timers, random } = settings;
    this.keepsOrder = keepsOrder ?? false;
    this.#autoCreate = autoCreate ?? true;
    this.#queueMax = queueMax ?? QUEUE_MAX;
    this.#ports = { clock: clock ?? systemClock, timers: timers ?? systemTimers(), random: random ?? systemRandom() };
    this.#receiving = { againFirstMs: againMs, againMaxMs: againMs, holdMs: HOLD_MS };
  }

  /** Declares a queue; it gets the messages whose route is its own name or one of `routes`. */
  queue(name: string, ...routes: string[]): void {
    const queue = this.#queues.get(name) ?? new Queue(this);
    this.#queues.set(name, queue);
    for (const route of [name, ...routes]) {
      const bound = this.#bindings.get(route) ?? new Set();
      this.#bindings.set(route, bound.add(queue));
    }
  }

  /** How many messages wait in a queue, those in a consumer's hand not counted. */
  waiting(queue: string): number {
    return this.#queues.get(queue)?.waiting.length ?? 0;
  }

  /** Nothing is taken any more; consumers lose what they have in hand. */
  down(): void {
    this.#down = true;
    for (const queue of this.#queues.values()) queue.loseConsumers();
  }

  up(): void {
    this.#down = false;
    for (const queue of this.#queues.values()) queue.pump();
  }

  get isDown(): boolean {
    return this.#down;
  }

  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    const held = new Set<string>();
    return Promise.resolve(
      batch.map((message) => {
        const { key } = message;
        if (this.keepsOrder && key !== undefined && held.has(key)) return AFTER_A_GAP;
        const outcome = this.#take(message);
        if (outcome !== CONFIRMED && key !== undefined) held.add(key);
        return outcome;
      }),
    );
  }

  /** The queue is declared if it is not there. */
  subscribe(
    queue: string,
    receive: (delivery: Delivery) => Promise<Receipt>,
    options?: SubscribeOptions,
  ): Promise<MemorySubscription> {
    this.queue(queue);
    const receiving = new Receiving(receive, this.#receiving, this.#ports);
    return Promise.resolve(new MemorySubscription(this.#queues.get(queue)!, receiving, options?.prefetch ?? PREFETCH));
  }

  /** Which of `count` waiting messages is next. */
  pick(count: number): number {
    const among = Math.min(this.reorder, count);
    return among <= 1 ? 0 : this.#ports.random.u32() % among;
  }

  #take(message: OutgoingMessage): PublishOutcome {
    const push = (this.#pushes.get(message.id) ?? 0) + 1;
    this.#pushes.set(message.id, push);
    if (this.#down) return { outcome: 'unavailable', reason: 'the memory broker is down' };
    const fault = this.fault(message, push);
    if (fault === 'rejected' || fault === 'unroutable' || fault === 'unavailable') return { outcome: fault, reason: 'ordered' };
    if (fault === 'message lost') return { outcome: 'unknown', reason: 'ordered' };
    const route = message.routingKey ?? message.topic;
    if (this.#autoCreate && !this.#bindings.has(route)) this.queue(route);
    const queues = this.#bindings.get(route);
    if (queues === undefined) return { outcome: 'unroutable', reason: `no queue is bound to ${route}` };
    for (const { waiting } of queues) if (waiting.length >= this.#queueMax) return FULL;
    for (let copies = fault === 'duplicate' ? 2 : 1; copies > 0; copies--) {
      this.stored.push(message);
      for (const queue of queues) queue.put(deliveryOf(message));
    }
    return fault === 'confirmation lost' ? { outcome: 'unknown', reason: 'ordered' } : CONFIRMED;
  }
}

const FULL: PublishOutcome = { outcome: 'unavailable', reason: 'the queue is full (queueMax)' };

interface Stored {
  readonly delivery: Delivery;
  /** Its place in the queue, which it keeps when it comes back. */
  readonly place: number;
}

class Queue {
  readonly waiting: Stored[] = [];
  #places = 0;
  readonly consumers = new Set<MemorySubscription>();
  readonly #broker: MemoryBroker;

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
  }

  put(delivery: Delivery): void {
    this.waiting.push({ delivery, place: ++this.#places });
    this.pump();
  }

  putBack({ delivery, place }: Stored): void {
    const after = this.waiting.findIndex((other) => other.place > place);
    const again = { delivery: { ...delivery, redelivered: true }, place };
    this.waiting.splice(after < 0 ? this.waiting.length : after, 0, again);
  }

  /** Round robin, as far as the consumers' hands are free. */
  pump(): void {
    for (let gave = true; gave && !this.#broker.isDown;) {
      gave = false;
      for (const consumer of this.consumers) {
        if (this.waiting.length === 0) return;
        if (!consumer.free) continue;
        const [next] = this.waiting.splice(this.#broker.pick(this.waiting.length), 1);
        consumer.give(next!);
        gave = true;
      }
    }
  }

  loseConsumers(): void {
    for (const consumer of this.consumers) consumer.lose();
  }
}

export class MemorySubscription implements Subscription {
  readonly #queue: Queue;
  readonly #receiving: Receiving;
  readonly #prefetch: number;
  readonly #inHand = new Set<Stored>();

  constructor(queue: Queue, receiving: Receiving, prefetch: number) {
    this.#queue = queue;
    this.#receiving = receiving;
    this.#prefetch = prefetch;
    queue.consumers.add(this);
    queue.pump();
  }

  get free(): boolean {
    return this.#inHand.size < this.#prefetch;
  }

  give(stored: Stored): void {
    this.#inHand.add(stored);
    this.#receiving.take(stored.delivery, (settled) => {
      if (!this.#inHand.delete(stored)) return;
      if (settled === 'back') this.#queue.putBack(stored);
      this.#queue.pump();
    });
  }

  /** The connection breaks: what is in hand goes back to the queue, and its receipts come too late. */
  lose(): void {
    const lost = [...this.#inHand];
    this.#inHand.clear();
    this.#receiving.dropAll();
    for (const one of lost) this.#queue.putBack(one);
  }

  /** The consumer's process dies: as `lose`, and it takes nothing more. */
  die(): void {
    this.#queue.consumers.delete(this);
    this.lose();
    this.#queue.pump();
  }

  async stop(): Promise<void> {
    this.#queue.consumers.delete(this);
    await this.#receiving.stop();
  }
}

function deliveryOf({ id, topic, key, tag, type, headers, body, createdAt }: OutgoingMessage): Delivery {
  return { id, topic, key, tag, type, headers: headers ?? new Map(), body, redelivered: false, sentAt: createdAt };
}
