/**
 * The way from RabbitMQ: each subscription consumes over a channel of its own, acknowledges only what was received as `done`, and stands
 * up again by itself, with a growing wait, when its connection, its channel or its consumer ends (RabbitMQ cancels consumers when a
 * queue is deleted or moves). What comes back as `again` is tried again in hand, see receiving.ts.
 *
 * Messages of one key keep their order within one subscription. Over several consumers of a queue they do so only if the queue
 * has one active consumer at a time (`x-single-active-consumer`) or the keys are spread over queues; one that stops hands the queue on only when
 * what it is receiving has ended.
 *
 * A message of a foreign sender without a message id cannot be told from its own repetition. `identify` may find it an id; else it is
 * received with the id '', and an inbox keeps it in its table for a person. With `withoutId: 'refuse'` it is refused for good instead:
 * RabbitMQ puts it into the queue's dead letter exchange, or drops it where the queue has none, and it is reported.
 *
 * States: `standing up` ⇄ `standing` → stop() → `stopping` (those in hand are waited for) → `stopped`.
 */
import { backoffMs, resolveOptions, type Timer } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import {
  failureOf,
  type RabbitChannel,
  type RabbitConnect,
  type RabbitConsumeOptions,
  type RabbitMessage,
} from './rabbit-driver.ts';
import { comesBack } from '../waits.ts';
import { closeQuietly, RabbitLink } from './rabbit-link.ts';
import { RABBIT_SUBSCRIBER_OPTIONS, type GivenRabbitSubscriberOptions, type RabbitSubscriberOptions } from './rabbit-options.ts';
import { rabbitDelivery } from './rabbit-wire.ts';
import { Receiving, type ReceivingPorts, type Settled } from './receiving.ts';
import type { Delivery, Receipt, SubscribeOptions, Subscriber, Subscription } from './transport.ts';

export type RabbitSubscriberSettings = GivenRabbitSubscriberOptions &
  Partial<ReceivingPorts> & {
    /** `() => amqp.connect(url)`; with a heartbeat of 5 to 20 seconds in the URL. */
    readonly connect: RabbitConnect;
    /** Called on each new channel before it consumes: `(channel) => channel.assertQueue('wallet')`. */
    readonly declare?: ((channel: RabbitChannel) => Promise<unknown>) | undefined;
    /** As the driver's `consume` takes them; `noAck` has no effect. */
    readonly consume?: RabbitConsumeOptions | undefined;
    /** An id for a message that has none: the same for each repetition, and no other message's. */
    readonly identify?: ((message: RabbitMessage) => string | undefined) | undefined;
    /** Troubles that are dealt with here; the console when absent. */
    readonly onReport?: ((sentence: string) => void) | undefined;
  };

/** Throws an OptionsError for options that cannot work. */
export function rabbitSubscriber(settings: RabbitSubscriberSettings): RabbitSubscriber {
  return new RabbitSubscriber(settings);
}

export interface RabbitSubscriberState {
  /** Those that stand or try to, and those that are being stopped. */
  readonly subscriptions: number;
}

/** One connection for all its subscriptions. */
export class RabbitSubscriber implements Subscriber {
  readonly #world: World;
  readonly #subscriptions = new Set<RabbitSubscription>();

  constructor({ connect, declare, consume, identify, onReport, clock, timers, random, ...given }: RabbitSubscriberSettings) {
    const options = resolveOptions('rabbitSubscriber', RABBIT_SUBSCRIBER_OPTIONS, given);
    const ports = { clock: clock ?? systemClock, timers: timers ?? systemTimers(), random: random ?? systemRandom() };
    this.#world = {
      link: new RabbitLink(connect, options, ports),
      options,
      ports,
      declare: declare ?? (() => Promise.resolve()),
      consume: { ...consume, noAck: false },
      identify: identify ?? (() => undefined),
      report: onReport ?? ((sentence) => console.warn(`tallystick: ${sentence}`)),
    };
  }

  /** Goes on trying until the subscription stands, unless the broker says that the queue is not there or may not be consumed: rejects. */
  async subscribe(
    queue: string,
    receive: (delivery: Delivery) => Promise<Receipt>,
    options?: SubscribeOptions,
  ): Promise<RabbitSubscription> {
    // To RabbitMQ 0 means without bound.
    const { prefetch } = resolveOptions('subscribe', PREFETCH, { prefetch: options?.prefetch ?? this.#world.options.prefetch });
    const ended = (): unknown => this.#subscriptions.delete(subscription);
    const subscription = new RabbitSubscription(this.#world, queue, receive, prefetch, ended);
    this.#subscriptions.add(subscription);
    try {
      await subscription.standing;
    } catch (error) {
      this.#subscriptions.delete(subscription);
      throw error;
    }
    return subscription;
  }

  state(): RabbitSubscriberState {
    return { subscriptions: this.#subscriptions.size };
  }

  /** Stops all subscriptions, then ends the connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    await this.#world.link.close();
  }
}

const PREFETCH = { prefetch: RABBIT_SUBSCRIBER_OPTIONS.prefetch };

interface World {
  readonly link: RabbitLink;
  readonly options: RabbitSubscriberOptions;
  readonly ports: ReceivingPorts;
  readonly declare: (channel: RabbitChannel) => Promise<unknown>;
  readonly consume: RabbitConsumeOptions;
  readonly identify: (message: RabbitMessage) => string | undefined;
  readonly report: (sentence: string) => void;
}

export class RabbitSubscription implements Subscription {
  /** Resolves when it stands for the first time. */
  readonly standing: Promise<void>;
  readonly #world: World;
  readonly #queue: string;
  readonly #prefetch: number;
  readonly #onStopped: () => void;
  readonly #receiving: Receiving;
  #channel: RabbitChannel | undefined;
  #failures = 0;
  #timer: Timer | undefined;
  #trying: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;
  #firstStand: { resolve(): void; reject(error: Error): void } | undefined;

  constructor(
    world: World,
    queue: string,
    receive: (delivery: Delivery) => Promise<Receipt>,
    prefetch: number,
    onStopped: () => void,
  ) {
    this.#world = world;
    this.#onStopped = onStopped;
    this.#queue = queue;
    this.#prefetch = prefetch;
    this.#receiving = new Receiving(receive, world.options, world.ports);
    this.standing = new Promise((resolve, reject) => (this.#firstStand = { resolve, reject }));
    this.#trying = this.#standUp();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop().finally(this.#onStopped);
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    if (this.#timer !== undefined) this.#world.ports.timers.cancel(this.#timer);
    await this.#trying;
    this.#firstStand?.reject(new Error('stopped before the subscription stood'));
    this.#firstStand = undefined;
    // The consumer is not cancelled first: a queue with one active consumer would go on to the next while messages are being received here.
    // With the channel it ends and everything unacknowledged goes back in order, at once.
    await comesBack(this.#receiving.finish(), this.#world.options.stopAfterMs, this.#world.ports.timers);
    this.#receiving.dropAll();
    const channel = this.#channel;
    this.#channel = undefined;
    await channel?.close().catch(() => undefined);
  }

  /** Never rejects. */
  async #standUp(): Promise<void> {
    const { link, declare, consume } = this.#world;
    let channel: RabbitChannel | undefined;
    let ending: unknown;
    try {
      const connection = await link.open();
      const opened = (channel = await connection.createChannel());
      opened.on('error', (error) => (ending = error));
      opened.on('close', () =>
        this.#lost(opened, `its channel ended: ${failureOf(ending ?? 'the connection was lost').message}`),
      );
      await declare(opened);
      await opened.prefetch(this.#prefetch);
      if (this.#stopped !== undefined) return void opened.close().catch(() => undefined);
      this.#channel = opened;
      await opened.consume(this.#queue, (message) => this.#take(opened, message), consume);
      // Lost already: a later attempt is on its way, except the first one's.
      if (this.#channel !== opened && this.#firstStand === undefined) return;
      if (this.#channel !== opened) throw new Error('the broker ended the consumer as soon as it stood');
      link.proved();
      this.#firstStand?.resolve();
      this.#firstStand = undefined;
    } catch (error) {
      this.#notStanding(channel, ending ?? error);
    }
  }

  #notStanding(channel: RabbitChannel | undefined, error: unknown): void {
    const { code, message } = failureOf(error);
    if (channel !== undefined) void closeQuietly(channel);
    if (this.#channel === channel) this.#channel = undefined;
    if (this.#firstStand !== undefined && REFUSALS.includes(code ?? 0)) {
      this.#firstStand.reject(new Error(`cannot consume ${this.#queue}: ${message}`, { cause: error }));
      this.#firstStand = undefined;
      this.#stopped ??= this.#receiving.stop();
    } else this.#later(`cannot consume ${this.#queue} at the moment: ${message}`);
  }

  #take(channel: RabbitChannel, message: RabbitMessage | null): void {
    if (this.#channel !== channel) return;
    if (message === null) {
      this.#lost(channel, 'the broker cancelled the consumer');
      return void closeQuietly(channel);
    }
    this.#failures = 0;
    const delivery = rabbitDelivery(message);
    const id = delivery.id === '' ? this.#identify(message) : delivery.id;
    if (id === '' && this.#world.options.withoutId === 'refuse') return this.#refuse(channel, message);
    this.#receiving.take(id === delivery.id ? delivery : { ...delivery, id }, (settled) =>
      this.#settle(channel, message, settled),
    );
  }

  #identify(message: RabbitMessage): string {
    try {
      return this.#world.identify(message) ?? '';
    } catch (error) {
      this.#world.report(`identify() threw: ${failureOf(error).message}`);
      return '';
    }
  }

  #refuse(channel: RabbitChannel, message: RabbitMessage): void {
    this.#world.report(
      `a message in ${this.#queue} has no message id, so its repeats could not be told apart; it was refused ` +
        `(dead letter exchange, if the queue has one); see the option identify`,
    );
    this.#onChannel(channel, () => channel.nack(message, false, false));
  }

  #settle(channel: RabbitChannel, message: RabbitMessage, settled: Settled): void {
    this.#onChannel(channel, () => (settled === 'done' ? channel.ack(message) : channel.nack(message, false, true)));
  }

  /** A receipt belongs to the channel its message came by; when that is gone, the broker has the message again. */
  #onChannel(channel: RabbitChannel, act: () => void): void {
    if (this.#channel !== channel) return;
    try {
      act();
    } catch (error) {
      this.#lost(channel, failureOf(error).message);
    }
  }

  #lost(channel: RabbitChannel, reason: string): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    this.#receiving.dropAll();
    // While it stands up for the first time, that attempt fails by itself.
    if (this.#firstStand === undefined) this.#later(`the subscription of ${this.#queue} was lost: ${reason}`);
  }

  #later(reason: string): void {
    if (this.#stopped !== undefined) return;
    const { options, ports, link, report } = this.#world;
    this.#failures++;
    const { reconnectFirstMs, reconnectMaxMs } = options;
    const waitMs = backoffMs({ firstMs: reconnectFirstMs, maxMs: reconnectMaxMs }, this.#failures, ports.random.u32());
    const inMs = Math.max(waitMs, link.waitMs);
    report(`${reason}; trying again in ${Math.round(inMs)} ms`);
    if (this.#timer !== undefined) ports.timers.cancel(this.#timer);
    this.#timer = ports.timers.after(inMs, () => {
      this.#timer = undefined;
      this.#trying = this.#standUp();
    });
  }
}

/** AMQP: access refused, not found, resource locked, precondition failed. */
const REFUSALS = [403, 404, 405, 406];
