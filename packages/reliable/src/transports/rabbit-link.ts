/**
 * One connection to RabbitMQ, made when it is first needed and again when it is lost. amqplib does not reconnect by itself, sends small
 * frames late unless told otherwise (Nagle: 158 instead of 1,064 confirms one by one in a second), and crashes the process on an unheard error
 * event: here is what is done about the three.
 *
 * States: `none` → open() → `opening` → `up` → lost → `none`, and for a while after a failure every open() fails at once
 * with that failure: the wait grows, with jitter, until the connection has been of use (`proved`). close() → `closed`.
 */
import { backoffMs } from '@tallystick/base';
import { failureOf, type RabbitConnect, type RabbitConnection } from './rabbit-driver.ts';
import type { ReceivingPorts } from './receiving.ts';
import { comesBack } from '../waits.ts';

export interface LinkOptions {
  readonly connectTimeoutMs: number;
  readonly reconnectFirstMs: number;
  readonly reconnectMaxMs: number;
}

export class RabbitLink {
  /** Why the broker takes no messages at the moment (memory or disk alarm). */
  blocked: string | undefined;
  readonly #connect: RabbitConnect;
  readonly #options: LinkOptions;
  readonly #ports: ReceivingPorts;
  readonly #onBlocked: () => void;
  #state: 'none' | 'opening' | 'up' | 'closed' = 'none';
  #connection: RabbitConnection | undefined;
  #opening: Promise<RabbitConnection> | undefined;
  #failures = 0;
  #lastFailure = 'there is no connection yet';
  #notBefore = 0;

  constructor(connect: RabbitConnect, options: LinkOptions, ports: ReceivingPorts, onBlocked: () => void = () => undefined) {
    this.#connect = connect;
    this.#options = options;
    this.#ports = ports;
    this.#onBlocked = onBlocked;
  }

  /** Why there can be no connection before `waitMs` are over; undefined when open() would try. */
  get refusal(): string | undefined {
    if (this.#state === 'closed') return 'closed';
    return this.#state === 'none' && this.waitMs > 0 ? this.#lastFailure : undefined;
  }

  /** How long open() will still fail. */
  get waitMs(): number {
    return Math.max(0, this.#notBefore - this.#ports.clock.monotonic());
  }

  /** The connection. Rejects with the reason why there is none. */
  open(): Promise<RabbitConnection> {
    const { refusal } = this;
    if (refusal !== undefined) return Promise.reject(new Error(refusal));
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** The connection has done what it is for: the next failure is a first one. */
  proved(): void {
    this.#failures = 0;
  }

  /** Something went wrong that makes the next use wait, the connection itself being up or not. */
  failed(reason: string): void {
    this.#failures++;
    this.#lastFailure = reason;
    const { reconnectFirstMs, reconnectMaxMs } = this.#options;
    const waitMs = backoffMs({ firstMs: reconnectFirstMs, maxMs: reconnectMaxMs }, this.#failures, this.#ports.random.u32());
    this.#notBefore = this.#ports.clock.monotonic() + waitMs;
  }

  /** Gives the connection up: the other side no longer answers, so that an orderly end would wait for ever. */
  abandon(reason: string): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#lost(connection, reason);
    const stream = streamOf(connection);
    if (stream?.destroy !== undefined) stream.destroy(new Error(reason));
    else void connection.close().catch(() => undefined);
  }

  /** What was asked of the connection; it is given up when that is not answered within `connectTimeoutMs`. */
  async withinTime<T>(connection: RabbitConnection, asked: Promise<T>): Promise<T> {
    const { connectTimeoutMs } = this.#options;
    const ended = asked.then(
      () => undefined,
      () => undefined,
    );
    if (await comesBack(ended, connectTimeoutMs, this.#ports.timers)) return asked;
    const reason = `no answer to the opening of a channel within ${connectTimeoutMs} ms (connectTimeoutMs)`;
    if (this.#connection === connection) this.abandon(reason);
    throw new Error(reason);
  }

  async close(): Promise<void> {
    this.#state = 'closed';
    const connection = this.#connection ?? (await this.#opening?.catch(() => undefined));
    this.#connection = undefined;
    await connection?.close().catch(() => undefined);
  }

  async #open(): Promise<RabbitConnection> {
    this.#state = 'opening';
    try {
      const connection = await this.#connecting(this.#connect());
      this.#state = this.#state === 'opening' ? 'up' : this.#state;
      this.#connection = connection;
      this.#listen(connection);
      return connection;
    } catch (error) {
      this.#opening = undefined;
      if (this.#state === 'opening') this.#state = 'none';
      this.failed(failureOf(error).message);
      throw error;
    }
  }

  #listen(connection: RabbitConnection): void {
    streamOf(connection)?.setNoDelay?.(true);
    // A close event follows each error, but only after the channels have heard of it: by then they must not be offered this one again.
    connection.on('error', (error) => this.#lost(connection, failureOf(error).message));
    connection.on('close', (error) => this.#lost(connection, failureOf(error ?? 'the connection was closed').message));
    connection.on('blocked', (why) => {
      this.blocked = `RabbitMQ takes no messages: ${String(why)}`;
      this.#onBlocked();
    });
    connection.on('unblocked', () => (this.blocked = undefined));
  }

  #lost(connection: RabbitConnection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#opening = undefined;
    this.blocked = undefined;
    if (this.#state === 'up') this.#state = 'none';
    this.failed(reason);
  }

  /** A connection that comes too late is closed. */
  #connecting(connecting: Promise<RabbitConnection>): Promise<RabbitConnection> {
    const { connectTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      let late = false;
      const timer = this.#ports.timers.after(connectTimeoutMs, () => {
        late = true;
        reject(new Error(`no connection within ${connectTimeoutMs} ms (connectTimeoutMs)`));
      });
      connecting.then(
        (connection) => {
          this.#ports.timers.cancel(timer);
          if (!late) return resolve(connection);
          connection.on('error', () => undefined);
          void connection.close().catch(() => undefined);
        },
        (error: unknown) => {
          this.#ports.timers.cancel(timer);
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }
}

/** It may be closed already, which is what is wanted. */
export async function closeQuietly(channel: { close(): Promise<unknown> }): Promise<void> {
  try {
    await channel.close();
  } catch {
    // Closed already.
  }
}

interface Stream {
  setNoDelay?(on: boolean): unknown;
  destroy?(error: Error): unknown;
}

function streamOf({ connection }: RabbitConnection): Stream | undefined {
  return (connection as { stream?: Stream } | undefined)?.stream;
}
