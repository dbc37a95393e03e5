/**
 * A sender's database, an outbox, a relay and a broker in one process, in time that a test moves: what takes an hour is over at once, and
 * what happens once a year happens when the test says so. Everything is real except the broker and the clock; the database is the one
 * that the test opens. (A server such as PostgreSQL has a clock of its own: there, the kit's time runs as fast as the server's.)
 */
import { ManualTime, seededRandom } from '@tallystick/base/testing';
import type { Random } from '@tallystick/base';
import type { Alarm } from '../relay/alarm.ts';
import type { GivenRelayOptions } from '../options.ts';
import { createMonitor, type Counts, type Monitor } from '../monitor/monitor.ts';
import type { MessageTypes } from '../outbox/message-types.ts';
import { createOutbox, type Outbox, type OutboxSettings } from '../outbox/outbox.ts';
import { createRelay, type Relay } from '../relay/relay.ts';
import type { Database } from '../sql/handles.ts';
import { sessionOf } from '../sql/session.ts';
import { memoryBroker, type MemoryBroker, type MemorySubscription } from '../transports/memory.ts';
import type { Delivery, Receipt, Transport } from '../transports/transport.ts';
import { Faults, type CrashStep } from './faults.ts';
import { Mortal, never } from './mortal.ts';

export interface TestKitSettings<H extends Database, Types extends MessageTypes> extends Omit<
  OutboxSettings<Types>,
  'clock' | 'timers' | 'turn' | 'random' | 'transport' | 'wake'
> {
  /** Opens the database, with its tables in it: once for the outbox, and once for every relay. A pool may be the same each time. */
  readonly open: () => H;
  readonly relay?: GivenRelayOptions | undefined;
  /** Of all that is random: waits between tries, ids. Default 1. */
  readonly seed?: number | undefined;
}

export interface UntilOptions {
  /** How much time may pass, by the kit's clock. Default a day; a minute where the database has a clock of its own. */
  readonly withinMs?: number | undefined;
}

/** Makes a kit; `await kit.stop()` at the end of the test. */
export function testKit<H extends Database, const Types extends MessageTypes = MessageTypes>(
  settings: TestKitSettings<H, Types>,
): TestKit<H, Types> {
  return new TestKit(settings);
}

export class TestKit<H extends Database, Types extends MessageTypes = MessageTypes> {
  readonly time = new ManualTime();
  readonly random: Random;
  readonly broker: MemoryBroker;
  readonly db: H;
  readonly outbox: Outbox<H, Types>;
  /** What relays have told, in order. */
  readonly alarms: Alarm[] = [];
  readonly #settings: TestKitSettings<H, Types>;
  readonly #faults: Faults;
  readonly #monitor: Monitor<H>;
  readonly #consumers: Consumer[] = [];
  /** The database goes by its own time. */
  readonly #ownClock: boolean;
  #relay: Relay | undefined;
  #process: Mortal;
  #relays = 0;
  #inHand = 0;

  constructor(settings: TestKitSettings<H, Types>) {
    const { open, relay: _relay, seed = 1, ...given } = settings;
    this.#settings = settings;
    this.random = seededRandom(seed);
    this.broker = memoryBroker(this.ports);
    this.#faults = new Faults(this.broker);
    this.#process = new Mortal(this.time);
    this.db = open();
    this.#ownClock = sessionOf(this.db).dialect.now !== undefined;
    const wake = (): void => this.#relay?.wake();
    this.outbox = createOutbox(this.db, { ...given, ...this.ports, transport: this.broker, wake } as OutboxSettings<Types>);
    this.#monitor = createMonitor(this.db, { clock: this.time, channel: given.channel });
  }

  /** For all else that shall live in the kit's time: `createInbox(db, { ...kit.ports })`. */
  get ports(): { readonly clock: ManualTime; readonly timers: ManualTime; readonly turn: ManualTime; readonly random: Random } {
    return { clock: this.time, timers: this.time, turn: this.time, random: this.random };
  }

  /** Subscribes a consumer to a queue (or topic): `await kit.consume('orders', inbox.receive)`. */
  async consume(queue: string, receive: (delivery: Delivery) => Promise<Receipt>): Promise<void> {
    const consumer: Consumer = { queue, receive, subscription: undefined };
    this.#consumers.push(consumer);
    await this.#subscribe(consumer);
  }

  /** The next process that comes to this step dies there; another takes its place. */
  crashAt(step: CrashStep): void {
    this.#faults.orderCrash(step);
  }

  /** The next message that is published is stored twice. */
  duplicateNext(): void {
    this.#faults.orderFromBroker('duplicate');
  }

  /** The next message that is published is stored, and its sender never learns that: it is published again. */
  loseConfirmationNext(): void {
    this.#faults.orderFromBroker('confirmation lost');
  }

  /** The next message that is published does not reach the broker, and its sender never learns that either. */
  loseNext(): void {
    this.#faults.orderFromBroker('message lost');
  }

  brokerDown(): void {
    this.broker.down();
  }

  brokerUp(): void {
    this.broker.up();
  }

  /** Lets time pass until everything that is in the outbox has been delivered and received, or is dead. Faults that were ordered happen. */
  deliver(options?: UntilOptions): Promise<void> {
    return this.#until('everything is delivered', async () => quiet(await this.#rows()) && this.#brokerQuiet(), options);
  }

  /** Lets time pass until something is the case. */
  until(holds: () => boolean | Promise<boolean>, options?: UntilOptions): Promise<void> {
    return this.#until('what until() waits for', holds, options);
  }

  /** Ends what the kit has started. Throws when a fault was ordered and never happened: the test did not test it. */
  async stop(): Promise<void> {
    const stopped = this.#end();
    let over = false;
    void stopped.then(
      () => (over = true),
      () => (over = true),
    );
    while (!over) await this.#pass(1_000);
    await stopped;
    const { waiting } = this.#faults;
    if (waiting.length > 0) throw new Error(`ordered and never happened: ${waiting.join(', ')}`);
  }

  async #end(): Promise<void> {
    await this.#relay?.stop();
    for (const { subscription } of this.#consumers) await subscription?.stop();
    await this.outbox.close();
  }

  async #until(
    what: string,
    holds: () => boolean | Promise<boolean>,
    { withinMs = this.#ownClock ? MINUTE_MS : DAY_MS }: UntilOptions = {},
  ): Promise<void> {
    const endMs = this.time.now() + withinMs;
    let stepMs = STEP_MS;
    while (!(await holds())) {
      if (this.time.now() >= endMs) throw new Error(`${what}: not after ${withinMs} ms; ${await this.#left()}`);
      const before = this.#progress();
      this.#keepRelay();
      await this.#pass(Math.min(stepMs, endMs - this.time.now()));
      // Where nothing moves, time may run.
      stepMs = this.#progress() === before ? Math.min(stepMs * 2, STEP_MAX_MS) : STEP_MS;
    }
  }

  /** Time and everything that can run without more of it; a server's answers need real moments, and time that runs with its own. */
  async #pass(ms: number): Promise<void> {
    const began = performance.now();
    if (this.#ownClock) await new Promise<void>((resolve) => setTimeout(resolve, MOMENT_MS));
    this.time.advance(this.#ownClock ? Math.ceil(performance.now() - began) : ms);
    for (let round = 0; round < ROUNDS; round++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.time.settle();
    }
  }

  /** A relay that died is followed by another one, with a lease to wait for. */
  #keepRelay(): void {
    if (this.#relay !== undefined && !this.#process.dead) return;
    const process = (this.#process = new Mortal(this.time));
    this.#relay = createRelay({
      leaseMs: LEASE_MS,
      owner: `test-${++this.#relays}`,
      ...this.#settings.relay,
      channel: this.#settings.channel,
      db: this.#settings.open(),
      transport: this.#mortalTransport(process),
      clock: process,
      timers: process,
      turn: process,
      random: this.random,
      onAlarm: (alarm) => this.alarms.push(alarm),
    });
    this.#relay.start();
  }

  #mortalTransport(process: Mortal): Transport {
    return {
      publish: async (batch) => {
        if (process.dead) return never();
        if (this.#faults.crashesAt('before publish')) return this.#dies(process);
        const outcomes = await this.broker.publish(batch);
        return this.#faults.crashesAt('after publish') ? this.#dies(process) : outcomes;
      },
    };
  }

  #dies(process: Mortal): Promise<never> {
    process.die();
    this.#relay = undefined;
    return never();
  }

  async #subscribe(consumer: Consumer): Promise<void> {
    consumer.subscription = await this.broker.subscribe(consumer.queue, (delivery) => this.#handled(consumer, delivery));
  }

  async #handled(consumer: Consumer, delivery: Delivery): Promise<Receipt> {
    if (this.#faults.crashesAt('before handling')) return this.#replace(consumer);
    this.#inHand++;
    try {
      const receipt = await consumer.receive(delivery);
      return this.#faults.crashesAt('after handling') ? this.#replace(consumer) : receipt;
    } finally {
      this.#inHand--;
    }
  }

  /** The consumer's process dies: the broker has back what it had in hand, nobody hears what it says, and another subscribes. */
  #replace(consumer: Consumer): Receipt {
    consumer.subscription?.die();
    this.time.atEnd(() => void this.#subscribe(consumer));
    return 'again';
  }

  async #rows(): Promise<Counts> {
    return (await this.#monitor.counts()) as Counts;
  }

  #brokerQuiet(): boolean {
    return this.#inHand === 0 && this.#consumers.every(({ queue }) => this.broker.waiting(queue) === 0);
  }

  #progress(): string {
    return `${this.broker.stored.length} ${this.#relays} ${this.#inHand} ${this.alarms.length} ${this.#faults.waiting.length}`;
  }

  async #left(): Promise<string> {
    const rows = Object.entries(await this.#rows()).filter(([name, count]) => count > 0 && name !== 'oldestMs');
    const queues = this.#consumers.map(({ queue }) => `${queue}: ${this.broker.waiting(queue)}`);
    return `outbox: ${rows.map(([state, count]) => `${count} ${state}`).join(', ') || 'empty'}; queues: ${queues.join(', ') || 'none'}`;
  }
}

interface Consumer {
  readonly queue: string;
  readonly receive: (delivery: Delivery) => Promise<Receipt>;
  subscription: MemorySubscription | undefined;
}

function quiet({ waiting, delayed, retrying, sent }: Counts): boolean {
  return waiting + delayed + retrying + sent === 0;
}

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const MOMENT_MS = 5;
const STEP_MS = 20;
/** A lease that runs out in such a step is taken again by its holder. */
const STEP_MAX_MS = 3_600_000;
const LEASE_MS = 60_000;
const ROUNDS = 8;
