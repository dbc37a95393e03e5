/**
 * The way to RabbitMQ: a confirm channel, every message persistent and mandatory. A message is `confirmed` by the broker's ack alone, and
 * not even by that when it came back first: a message that no queue takes is returned and then acked. Confirmations are pipelined
 * up to a window; what does not fit waits here, bounded, and what does not fit there is `unavailable`.
 *
 * ```
 * ack                                   confirmed      ack after basic.return      unroutable
 * nack                                  unknown        a full queue, or one whose node failed: some queues may have it
 * channel or connection lost            unknown        for all on their way; what was still waiting here is unavailable
 * no confirmation in confirmTimeoutMs   unknown
 * no connection, memory alarm, full     unavailable
 * ```
 *
 * RabbitMQ answers a message to a missing or forbidden exchange by ending the channel, under everybody else's confirmations too. So the
 * first message to an exchange travels alone: when the channel ends, it is known whose fault it was (`unroutable` or `rejected`), and
 * the others have not been sent. After such an end every exchange must show itself anew.
 *
 * States of a message: waiting → sent → settled, once; the channel: `none` → `opening` → `open` → lost → `none`.
 */
import { BoundedQueue, resolveOptions, type Timer } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { CONFIRMED, publishInChains } from './key-chains.ts';
import {
  failureOf,
  type RabbitConfirmChannel,
  type RabbitConnect,
  type RabbitFailure,
  type RabbitMessage,
} from './rabbit-driver.ts';
import { RabbitLink } from './rabbit-link.ts';
import { RABBIT_TRANSPORT_OPTIONS, type GivenRabbitTransportOptions, type RabbitTransportOptions } from './rabbit-options.ts';
import { bodyOf, publishOptionsOf, routeOf, wireFault } from './rabbit-wire.ts';
import type { ReceivingPorts } from './receiving.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from './transport.ts';

export type RabbitTransportSettings = GivenRabbitTransportOptions &
  Partial<ReceivingPorts> & {
    /** `() => amqp.connect(url)`; with a heartbeat of 5 to 20 seconds in the URL. */
    readonly connect?: RabbitConnect | undefined;
    /** Instead: a confirm channel of your own. When it ends, everything is `unavailable`. */
    readonly channel?: RabbitConfirmChannel | undefined;
  };

/** Throws an OptionsError for options that cannot work, a TypeError when there is neither `connect` nor `channel`. */
export function rabbitTransport(settings: RabbitTransportSettings): RabbitTransport {
  return new RabbitTransport(settings);
}

interface Sending {
  readonly message: OutgoingMessage;
  readonly exchange: string;
  readonly routingKey: string;
  /** The same message, given again while it was on its way, has the same outcome. */
  readonly tellers: ((outcome: PublishOutcome) => void)[];
  /** Monotonic time of the last change: given, then sent. */
  since: number;
  returned: string | undefined;
  settled: boolean;
}

/** What the transport has done and holds. */
export interface RabbitTransportState {
  readonly waiting: number;
  readonly onTheWay: number;
  readonly onTheWayBytes: number;
}

export class RabbitTransport implements Transport {
  readonly keepsOrder = true;
  readonly #options: RabbitTransportOptions;
  readonly #ports: ReceivingPorts;
  readonly #link: RabbitLink | undefined;
  readonly #waiting: BoundedQueue<Sending>;
  /** Sent and not settled, in the order of sending, by id. */
  readonly #sent = new Map<string, Sending>();
  #sentBytes = 0;
  #channelState: 'none' | 'opening' | 'open' = 'none';
  #channel: RabbitConfirmChannel | undefined;
  /** The broker's reason for ending the channel, from its error event until its close event. */
  #ending: RabbitFailure | undefined;
  /** The socket's buffer is full; goes on with the channel's drain event. */
  #full = false;
  #heardMs = 0;
  #timer: Timer | undefined;
  /** Exchanges that have taken a message since the channel last ended by the broker's hand. */
  readonly #proven = new Set<string>();
  /** What is on its way is the first message to its exchange. */
  #alone = false;
  #closed = false;
  #idle: (() => void)[] = [];

  constructor({ connect, channel, clock, timers, random, ...given }: RabbitTransportSettings) {
    this.#options = resolveOptions('rabbitTransport', RABBIT_TRANSPORT_OPTIONS, given);
    this.#ports = { clock: clock ?? systemClock, timers: timers ?? systemTimers(), random: random ?? systemRandom() };
    this.#waiting = new BoundedQueue(this.#options.waitingMax);
    if (channel !== undefined) this.#use(channel);
    else if (connect !== undefined) this.#link = new RabbitLink(connect, this.#options, this.#ports, () => this.#refuseWaiting());
    else throw new TypeError('rabbitTransport needs connect: () => amqp.connect(url), or a confirm channel');
  }

  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    return publishInChains(batch, (message, done) => this.#take(message, done));
  }

  state(): RabbitTransportState {
    return { waiting: this.#waiting.length, onTheWay: this.#sent.size, onTheWayBytes: this.#sentBytes };
  }

  /** Waits for the confirmations of what is on its way, up to `closeTimeoutMs`, then ends the connection (not a channel that was handed in). */
  async close(): Promise<void> {
    this.#closed = true;
    for (const one of this.#waiting.drain()) this.#settle(one, CLOSED);
    if (this.#sent.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#ports.timers.after(this.#options.closeTimeoutMs, resolve);
        this.#idle.push(() => (this.#ports.timers.cancel(timer), resolve()));
      });
    }
    this.#settleAllSent('closed before the confirmation came');
    this.#watch();
    await this.#link?.close();
  }

  #take(message: OutgoingMessage, done: (outcome: PublishOutcome) => void): void {
    const fault = wireFault(message, this.#options.bodyBytesMax);
    if (fault !== undefined) return done({ outcome: 'rejected', reason: fault });
    const same = this.#sent.get(message.id);
    if (same !== undefined && goesAs(same.message, message)) return void same.tellers.push(done);
    const refusal = this.#refusal();
    if (refusal !== undefined) return done(refusal);
    const { exchange, routingKey } = routeOf(message);
    const since = this.#ports.clock.monotonic();
    const one: Sending = { message, exchange, routingKey, tellers: [done], since, returned: undefined, settled: false };
    if (!this.#waiting.offer(one)) return done(FULL);
    this.#pump();
    this.#watch();
  }

  #refusal(): PublishOutcome | undefined {
    if (this.#closed) return CLOSED;
    if (this.#channelState === 'open') return this.#link?.blocked === undefined ? undefined : unavailable(this.#link.blocked);
    const reason = this.#link === undefined ? 'the channel that was handed in has ended' : this.#link.refusal;
    return reason === undefined ? undefined : unavailable(reason);
  }

  #refuseWaiting(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) for (const one of this.#waiting.drain()) this.#settle(one, refusal);
  }

  /** Sends what may be sent. */
  #pump(): void {
    if (this.#channelState === 'none' && this.#waiting.length > 0) void this.#open();
    while (this.#channelState === 'open' && !this.#full) {
      const next = this.#waiting.peek();
      if (next === undefined || !this.#mayGo(next)) return;
      this.#waiting.take();
      const same = this.#sent.get(next.message.id);
      if (same === undefined) this.#send(next);
      else same.tellers.push(...next.tellers);
    }
  }

  #mayGo({ message, exchange }: Sending): boolean {
    if (this.#sent.size === 0) return true;
    // A return tells of its message by the id alone, so two of one id are never on their way at once.
    const same = this.#sent.get(message.id);
    if (same !== undefined) return goesAs(same.message, message);
    if (this.#alone || !this.#proven.has(exchange)) return false;
    const { windowMessages, windowBytes } = this.#options;
    return this.#sent.size < windowMessages && this.#sentBytes + message.body.length <= windowBytes;
  }

  #send(one: Sending): void {
    const { message, exchange, routingKey } = one;
    one.since = this.#ports.clock.monotonic();
    if (this.#sent.size === 0) this.#alone = !this.#proven.has(exchange);
    this.#sent.set(message.id, one);
    this.#sentBytes += message.body.length;
    const channel = this.#channel!;
    try {
      const options = publishOptionsOf(message);
      const room = channel.publish(exchange, routingKey, bodyOf(message), options, (error) => this.#answered(one, error));
      // The answer cannot have come yet, but the channel may be another one by the time of a drain event.
      if (!room && this.#channel === channel) this.#full = true;
    } catch (error) {
      const { message: reason } = failureOf(error);
      // The driver knows sooner than its close event that the channel is gone; else it could not write the message down.
      const gone = (error as { name?: unknown }).name === 'IllegalOperationError';
      this.#settle(one, { outcome: gone ? 'unavailable' : 'rejected', reason });
      if (gone) this.#channelGone(channel, reason);
    }
  }

  #answered(one: Sending, error: unknown): void {
    this.#heardMs = this.#ports.clock.monotonic();
    if (error !== null && error !== undefined) {
      this.#settle(one, this.#outcomeOfFailure(one, failureOf(error).message));
      // A negative one makes room as well; but when it is the channel that ends, its close event is still to come.
      void Promise.resolve().then(() => this.#pump());
      return;
    }
    this.#proven.add(one.exchange);
    this.#alone = false;
    this.#link?.proved();
    this.#settle(one, one.returned === undefined ? CONFIRMED : { outcome: 'unroutable', reason: one.returned });
    this.#pump();
  }

  #outcomeOfFailure(one: Sending, message: string): PublishOutcome {
    const ending = this.#ending;
    if (ending === undefined) return { outcome: 'unknown', reason: `no confirmation: ${message}` };
    // It was alone, so the broker means this one: it has not been stored.
    const alone = this.#alone && !this.#proven.has(one.exchange);
    if (alone && ending.code === NOT_FOUND) return { outcome: 'unroutable', reason: ending.message };
    if (alone && (ending.code === ACCESS_REFUSED || ending.code === PRECONDITION_FAILED))
      return { outcome: 'rejected', reason: ending.message };
    return { outcome: 'unknown', reason: ending.message };
  }

  #returned({ fields, properties }: RabbitMessage): void {
    const one = this.#sent.get(String(properties.messageId));
    const { replyCode, replyText, exchange, routingKey } = fields;
    if (one !== undefined)
      one.returned = `returned: ${replyCode} ${replyText} (exchange ${JSON.stringify(exchange)}, routing key ${JSON.stringify(routingKey)})`;
  }

  #settle(one: Sending, outcome: PublishOutcome): void {
    if (one.settled) return;
    one.settled = true;
    if (this.#sent.get(one.message.id) === one) {
      this.#sent.delete(one.message.id);
      this.#sentBytes -= one.message.body.length;
    }
    for (const tell of one.tellers) tell(outcome);
    if (this.#sent.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #settleAllSent(reason: string): void {
    for (const one of [...this.#sent.values()]) this.#settle(one, { outcome: 'unknown', reason });
  }

  async #open(): Promise<void> {
    const link = this.#link;
    if (link === undefined) return this.#refuseWaiting();
    this.#channelState = 'opening';
    try {
      const connection = await link.open();
      // An error in its first moments must have a listener: the channel is in use before anything else happens.
      const channel = await connection.createConfirmChannel();
      this.#channelState = 'none';
      if (this.#closed) return;
      this.#use(channel);
      this.#refuseWaiting();
      this.#pump();
    } catch (error) {
      this.#channelState = 'none';
      if (link.refusal === undefined) link.failed(failureOf(error).message);
      this.#refuseWaiting();
    }
  }

  #use(channel: RabbitConfirmChannel): void {
    this.#channel = channel;
    this.#channelState = 'open';
    this.#full = false;
    this.#ending = undefined;
    this.#heardMs = this.#ports.clock.monotonic();
    const mine = (run: () => void): void => void (this.#channel === channel && run());
    channel.on('error', (error) => mine(() => (this.#ending = failureOf(error))));
    channel.on('close', () => mine(() => this.#channelGone(channel, this.#ending?.message ?? 'the channel was lost')));
    channel.on('return', (message: RabbitMessage) => mine(() => this.#returned(message)));
    channel.on('drain', () =>
      mine(() => {
        this.#full = false;
        this.#pump();
      }),
    );
  }

  /** The driver has failed, or will not answer, what was on its way. */
  #channelGone(channel: RabbitConfirmChannel, reason: string): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    this.#channelState = 'none';
    this.#full = false;
    for (const one of [...this.#sent.values()]) this.#settle(one, this.#outcomeOfFailure(one, reason));
    if (this.#ending !== undefined) this.#proven.clear();
    this.#ending = undefined;
    this.#refuseWaiting();
    this.#pump();
  }

  /** One timer, for the oldest message there is. */
  #watch(): void {
    const idle = this.#sent.size === 0 && this.#waiting.length === 0;
    if (idle && this.#timer !== undefined) {
      this.#ports.timers.cancel(this.#timer);
      this.#timer = undefined;
    } else if (!idle && this.#timer === undefined) {
      this.#timer = this.#ports.timers.after(Math.max(10, this.#options.confirmTimeoutMs / 4), () => {
        this.#timer = undefined;
        this.#expire();
        this.#watch();
      });
    }
  }

  #expire(): void {
    const { confirmTimeoutMs } = this.#options;
    const nowMs = this.#ports.clock.monotonic();
    for (let one = this.#waiting.peek(); one !== undefined && nowMs - one.since >= confirmTimeoutMs; one = this.#waiting.peek()) {
      this.#waiting.take();
      this.#settle(one, unavailable(`not sent within ${confirmTimeoutMs} ms (confirmTimeoutMs)`));
    }
    const silent = nowMs - this.#heardMs >= confirmTimeoutMs && this.#link?.blocked === undefined;
    const reason = `no confirmation within ${confirmTimeoutMs} ms (confirmTimeoutMs)`;
    let expired = false;
    for (const one of this.#sent.values()) {
      if (nowMs - one.since < confirmTimeoutMs) break;
      expired = true;
      this.#settle(one, { outcome: 'unknown', reason });
    }
    const channel = this.#channel;
    if (expired && silent && this.#link !== undefined && channel !== undefined) {
      this.#link.abandon(reason);
      this.#channelGone(channel, reason);
    }
    this.#pump();
  }
}

/** AMQP's reply codes with which RabbitMQ ends a channel over a message. */
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;

const CLOSED = unavailable('the transport is closed');
const FULL = unavailable('too many messages wait for a confirmation already (waitingMax)');

/** Whether the two are one message, given twice, and not two that somebody gave one id. */
function goesAs(one: OutgoingMessage, other: OutgoingMessage): boolean {
  const [a, b] = [routeOf(one), routeOf(other)];
  return one.topic === other.topic && a.exchange === b.exchange && a.routingKey === b.routingKey;
}

function unavailable(reason: string): PublishOutcome {
  return { outcome: 'unavailable', reason };
}
