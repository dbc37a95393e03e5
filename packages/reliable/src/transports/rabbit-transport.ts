/**
 * The way to RabbitMQ: a confirm channel, every message persistent and mandatory. A message is `confirmed` by the broker's ack alone, and
 * not even by that when it came back first: a message that no queue takes is returned and then acked. Confirmations are pipelined
 * up to a window; what does not fit waits here, bounded, and what does not fit there is `unavailable`.
 *
 * ```
 * ack                                   confirmed      ack after basic.return      unroutable
 * nack                                  unknown        a full queue, or one whose node failed: some queues may have it
 * channel or connection lost            unknown        for all on their way; what was still waiting here is unavailable
 * no confirmation in confirmTimeoutMs   unknown        and the channel is replaced, or the connection when it was silent all that time
 * no connection, memory alarm, full     unavailable
 * ```
 *
 * RabbitMQ answers a message to a missing or forbidden exchange, or a too large one, by ending the channel, under everybody else's
 * confirmations too. So the first message to an exchange travels alone: when the channel ends, it is known whose fault it was
 * (`unroutable` or `rejected`), and the others have not been sent. After such an end every exchange must show itself anew, and where the
 * reason does not tell which message was meant, each of those that were on their way travels alone when it is given again.
 *
 * States of a message: waiting → sent → settled, once; the channel: `none` → `opening` → `open` → lost → `none`. A channel on which a
 * confirmation is overdue is retired: new messages go over a new one, those on their way keep their time, and the last of them closes it.
 */
import { BoundedQueue, resolveOptions, type Timer } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { PassingMap } from '../passing.ts';
import { CONFIRMED, publishInChains } from './key-chains.ts';
import {
  failureOf,
  type RabbitConfirmChannel,
  type RabbitConnect,
  type RabbitFailure,
  type RabbitMessage,
} from './rabbit-driver.ts';
import { gatheringOf } from './rabbit-gather.ts';
import { SpareHeaders } from './rabbit-headers.ts';
import { closeQuietly, RabbitLink } from './rabbit-link.ts';
import { RABBIT_TRANSPORT_OPTIONS, type GivenRabbitTransportOptions, type RabbitTransportOptions } from './rabbit-options.ts';
import { goesAs, tellAll, type Sending, type Way } from './rabbit-sending.ts';
import { isOverAMessage, sizeLimitIn, tooLarge, verdict } from './rabbit-verdicts.ts';
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
  readonly #sent = new PassingMap<string, Sending>();
  #sentBytes = 0;
  readonly #spareHeaders = new SpareHeaders();
  #channelState: 'none' | 'opening' | 'open' = 'none';
  #way: Way | undefined;
  /** The socket's buffer is full; goes on with the channel's drain event. */
  #full = false;
  #heardMs = 0;
  #timer: Timer | undefined;
  /** Exchanges that have taken a message since the channel last ended by the broker's hand. */
  readonly #proven = new Set<string>();
  /** Sent so that no other is on its way: when the channel ends, it is this one that the broker means. */
  #alone: Sending | undefined;
  /** Ids of those that were on their way when the broker ended a channel over one of them, and nobody knows which. */
  #suspects = new Set<string>();
  /** The broker's max_message_size, once it has ended a channel over it; another connection may lead to another broker. */
  #sizeLimit = Infinity;
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
    const large = this.#tooLarge(message);
    if (large !== undefined) return done(large);
    const same = this.#sent.get(message.id);
    if (same !== undefined && goesAs(same.message, message)) return void (same.others ??= []).push(done);
    const refusal = this.#refusal();
    if (refusal !== undefined) return done(refusal);
    const { exchange, routingKey } = routeOf(message);
    const since = this.#ports.clock.monotonic();
    const one: Sending = {
      message,
      exchange,
      routingKey,
      tell: done,
      others: undefined,
      since,
      way: undefined,
      headers: undefined,
      returned: undefined,
      settled: false,
    };
    if (!this.#waiting.offer(one)) return done(FULL);
    this.#pump();
    this.#watch();
  }

  #refusal(): PublishOutcome | undefined {
    if (this.#closed) return CLOSED;
    if (this.#link?.blocked !== undefined) return unavailable(this.#link.blocked);
    if (this.#channelState === 'open') return undefined;
    const reason = this.#link === undefined ? 'the channel that was handed in has ended' : this.#link.refusal;
    return reason === undefined ? undefined : unavailable(reason);
  }

  #tooLarge({ body }: OutgoingMessage): PublishOutcome | undefined {
    return body.length > this.#sizeLimit ? tooLarge(body.length, this.#sizeLimit) : undefined;
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
      if (next === undefined) return;
      const same = this.#sent.get(next.message.id);
      if (!this.#mayGo(next, same)) return;
      this.#waiting.take();
      const large = this.#tooLarge(next.message);
      if (large !== undefined) this.#settle(next, large);
      else if (same === undefined) this.#send(next);
      else (same.others ??= []).push(next.tell);
    }
  }

  #mayGo({ message, exchange }: Sending, same: Sending | undefined): boolean {
    if (this.#sent.size === 0) return true;
    // A return tells of its message by the id alone, so two of one id are never on their way at once.
    if (same !== undefined) return goesAs(same.message, message);
    if (this.#alone !== undefined || this.#mustGoAlone(message.id, exchange)) return false;
    const { windowMessages, windowBytes } = this.#options;
    return this.#sent.size < windowMessages && this.#sentBytes + message.body.length <= windowBytes;
  }

  #mustGoAlone(id: string, exchange: string): boolean {
    return !this.#proven.has(exchange) || (this.#suspects.size > 0 && this.#suspects.has(id));
  }

  #send(one: Sending): void {
    const { message, exchange, routingKey } = one;
    const way = this.#way!;
    const { channel } = way;
    one.since = this.#ports.clock.monotonic();
    one.way = way;
    way.count++;
    if (this.#sent.size === 0 && this.#mustGoAlone(message.id, exchange)) this.#alone = one;
    this.#sent.set(message.id, one);
    this.#sentBytes += message.body.length;
    try {
      const headers = (one.headers = this.#spareHeaders.take(message));
      const options = publishOptionsOf(message, headers);
      const room = channel.publish(exchange, routingKey, bodyOf(message), options, (error) => this.#answered(one, error));
      way.gathering?.written();
      // The answer cannot have come yet, but the channel may be another one by the time of a drain event.
      if (!room && this.#way === way) this.#full = true;
    } catch (error) {
      const { message: reason } = failureOf(error);
      // The driver knows sooner than its close event that the channel is gone; else it could not write the message down.
      const gone = (error as { name?: unknown }).name === 'IllegalOperationError';
      this.#settle(one, { outcome: gone ? 'unavailable' : 'rejected', reason });
      if (gone) this.#wayGone(way, reason);
    }
  }

  #answered(one: Sending, error: unknown): void {
    this.#heardMs = this.#ports.clock.monotonic();
    if (one.headers !== undefined) this.#spareHeaders.giveBack(one.message, one.headers);
    one.headers = undefined;
    if (error !== null && error !== undefined) {
      this.#settle(one, this.#outcomeOfFailure(one, failureOf(error).message));
      // A negative one makes room as well; but when it is the channel that ends, its close event is still to come.
      void Promise.resolve().then(() => this.#pump());
      return;
    }
    this.#proven.add(one.exchange);
    this.#link?.proved();
    this.#settle(one, one.returned === undefined ? CONFIRMED : { outcome: 'unroutable', reason: one.returned });
    this.#pump();
  }

  #outcomeOfFailure(one: Sending, message: string): PublishOutcome {
    const ending = one.way?.ending;
    if (ending === undefined) return { outcome: 'unknown', reason: `no confirmation: ${message}` };
    return verdict(ending, one.message.body.length, this.#alone === one);
  }

  #returned(way: Way, { fields, properties }: RabbitMessage): void {
    const one = this.#sent.get(String(properties.messageId));
    const { replyCode, replyText, exchange, routingKey } = fields;
    if (one?.way === way)
      one.returned = `returned: ${replyCode} ${replyText} (exchange ${JSON.stringify(exchange)}, routing key ${JSON.stringify(routingKey)})`;
  }

  #settle(one: Sending, outcome: PublishOutcome): void {
    if (one.settled) return;
    one.settled = true;
    if (this.#sent.get(one.message.id) === one) {
      this.#sent.delete(one.message.id);
      this.#sentBytes -= one.message.body.length;
    }
    if (this.#alone === one) {
      this.#alone = undefined;
      // Answered, or to be tried once more: either way it is no longer one of many.
      this.#suspects.delete(one.message.id);
    }
    const { way } = one;
    if (way !== undefined && --way.count === 0 && way !== this.#way && !way.gone) this.#end(way);
    tellAll(one, outcome);
    if (this.#sent.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #settleAllSent(reason: string): void {
    for (const one of this.#sent.values()) this.#settle(one, { outcome: 'unknown', reason });
  }

  async #open(): Promise<void> {
    const link = this.#link;
    if (link === undefined) return this.#refuseWaiting();
    this.#channelState = 'opening';
    try {
      const connection = await link.open();
      // An error in its first moments must have a listener: the channel is in use before anything else happens.
      const channel = await link.withinTime(connection, connection.createConfirmChannel());
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
    const way: Way = { channel, gathering: gatheringOf(channel), ending: undefined, count: 0, gone: false };
    this.#way = way;
    this.#channelState = 'open';
    this.#full = false;
    this.#heardMs = this.#ports.clock.monotonic();
    channel.on('error', (error) => this.#ended(way, failureOf(error)));
    channel.on('close', () => this.#wayGone(way, way.ending?.message ?? 'the channel was lost'));
    channel.on('return', (message: RabbitMessage) => this.#returned(way, message));
    channel.on('drain', () => {
      if (this.#way !== way) return;
      this.#full = false;
      this.#pump();
    });
  }

  /** The broker has ended the channel; the driver fails what was on its way right after this. */
  #ended(way: Way, failure: RabbitFailure): void {
    way.ending = failure;
    const bytes = sizeLimitIn(failure);
    if (bytes !== undefined) this.#sizeLimit = bytes;
    else if (isOverAMessage(failure) && this.#alone?.way !== way)
      this.#suspects = new Set(
        this.#sent
          .values()
          .filter((one) => one.way === way)
          .map(({ message }) => message.id),
      );
  }

  /** The driver has failed, or will not answer, what was on its way. */
  #wayGone(way: Way, reason: string): void {
    if (way.gone) return;
    way.gone = true;
    if (this.#way === way) {
      this.#way = undefined;
      this.#channelState = 'none';
      this.#full = false;
    }
    for (const one of this.#sent.values()) if (one.way === way) this.#settle(one, this.#outcomeOfFailure(one, reason));
    if (way.ending !== undefined) this.#proven.clear();
    // The connection has gone with it.
    else this.#sizeLimit = Infinity;
    this.#refuseWaiting();
    this.#pump();
  }

  /** New messages go over a new channel. One that was handed in is the only one there is. */
  #retire(): void {
    const way = this.#way;
    if (way === undefined || this.#link === undefined) return;
    this.#way = undefined;
    this.#channelState = 'none';
    this.#full = false;
    if (way.count === 0) this.#end(way);
  }

  /** Nobody waits for anything that went this way: its end says nothing about the connection. */
  #end(way: Way): void {
    way.gone = true;
    void closeQuietly(way.channel);
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
    let isOverdue = false;
    for (const one of this.#sent.values()) {
      if (nowMs - one.since < confirmTimeoutMs) break;
      isOverdue ||= one.way === this.#way;
      this.#settle(one, { outcome: 'unknown', reason });
    }
    const way = this.#way;
    if (isOverdue && silent && this.#link !== undefined && way !== undefined) {
      this.#link.abandon(reason);
      this.#wayGone(way, reason);
    } else if (isOverdue) this.#retire();
    this.#pump();
  }
}

const CLOSED = unavailable('the transport is closed');
const FULL = unavailable('too many messages wait for a confirmation already (waitingMax)');

function unavailable(reason: string): PublishOutcome {
  return { outcome: 'unavailable', reason };
}
