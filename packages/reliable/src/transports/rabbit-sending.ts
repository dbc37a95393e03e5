/** What the way to RabbitMQ remembers of a message until its outcome is known, and of the channel it went over. */
import type { RabbitConfirmChannel, RabbitFailure } from './rabbit-driver.ts';
import type { Gathering } from './rabbit-gather.ts';
import type { RabbitHeaders } from './rabbit-headers.ts';
import { routeOf } from './rabbit-wire.ts';
import type { OutgoingMessage, PublishOutcome } from './transport.ts';

/** A channel and how many messages are on their way over it. */
export interface Way {
  readonly channel: RabbitConfirmChannel;
  /** The broker's reason for ending it, from its error event on. */
  ending: RabbitFailure | undefined;
  readonly gathering: Gathering | undefined;
  count: number;
  gone: boolean;
}

export interface Sending {
  readonly message: OutgoingMessage;
  readonly exchange: string;
  readonly routingKey: string;
  readonly tell: (outcome: PublishOutcome) => void;
  /** Of the same message, given again while it was on its way: it has the same outcome. */
  others: Sending['tell'][] | undefined;
  /** Monotonic time of the last change: given, then sent. */
  since: number;
  way: Way | undefined;
  /** What the driver was given, until it has answered. */
  headers: RabbitHeaders | undefined;
  returned: string | undefined;
  settled: boolean;
}

/** Whether the two are one message, given twice, and not two that somebody gave one id. */
export function goesAs(one: OutgoingMessage, other: OutgoingMessage): boolean {
  const [a, b] = [routeOf(one), routeOf(other)];
  return one.topic === other.topic && a.exchange === b.exchange && a.routingKey === b.routingKey;
}

export function tellAll({ tell, others }: Sending, outcome: PublishOutcome): void {
  tell(outcome);
  if (others !== undefined) for (const other of others) other(outcome);
}
