/**
 * What of amqplib is used, as far as its shape is concerned: the driver is the user's, handed in, and nothing here imports it. Any other
 * object of these shapes does as well.
 */

/** amqplib's `connect(…)` gives one. */
export interface RabbitConnection {
  createConfirmChannel(): Promise<RabbitConfirmChannel>;
  createChannel(): Promise<RabbitChannel>;
  close(): Promise<unknown>;
  // oxlint-disable-next-line typescript/no-explicit-any -- every event has its own arguments
  on(event: string, listener: (...args: any[]) => void): unknown;
  /** Where amqplib keeps the socket. */
  readonly connection?: unknown;
}

export interface RabbitChannel {
  prefetch(count: number): Promise<unknown>;
  consume(queue: string, take: (message: RabbitMessage | null) => void, options?: RabbitConsumeOptions): Promise<unknown>;
  ack(message: RabbitMessage): void;
  nack(message: RabbitMessage, allUpTo?: boolean, requeue?: boolean): void;
  close(): Promise<unknown>;
  // oxlint-disable-next-line typescript/no-explicit-any -- every event has its own arguments
  on(event: string, listener: (...args: any[]) => void): unknown;
}

export interface RabbitConfirmChannel {
  publish(
    exchange: string,
    routingKey: string,
    content: Buffer,
    options: RabbitPublishOptions,
    confirmed: (error: unknown) => void,
  ): boolean;
  close(): Promise<unknown>;
  // oxlint-disable-next-line typescript/no-explicit-any -- every event has its own arguments
  on(event: string, listener: (...args: any[]) => void): unknown;
}

export interface RabbitPublishOptions {
  mandatory: boolean;
  persistent: boolean;
  messageId: string;
  headers: Record<string, unknown>;
  type?: string;
  /** Seconds since 1970. */
  timestamp?: number;
}

export interface RabbitConsumeOptions {
  readonly noAck?: boolean;
  readonly consumerTag?: string;
  readonly exclusive?: boolean;
  readonly priority?: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- as amqplib has it
  readonly arguments?: any;
}

/** Delivered or returned. */
export interface RabbitMessage {
  readonly content: Buffer;
  readonly fields: {
    readonly routingKey: string;
    readonly exchange: string;
    readonly redelivered?: boolean;
    readonly replyCode?: number;
    readonly replyText?: string;
  };
  readonly properties: {
    readonly messageId?: unknown;
    readonly type?: unknown;
    readonly timestamp?: unknown;
    readonly headers?: Readonly<Record<string, unknown>> | undefined;
  };
}

/** A new connection; called again whenever one is lost. */
export type RabbitConnect = () => Promise<RabbitConnection>;

/** The error with which a broker or a socket ended something. */
export interface RabbitFailure {
  /** AMQP's reply code, when the broker closed the channel or the connection. */
  readonly code: number | undefined;
  readonly message: string;
}

export function failureOf(error: unknown): RabbitFailure {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return { code: typeof code === 'number' ? code : undefined, message: typeof message === 'string' ? message : String(error) };
}
