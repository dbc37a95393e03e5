/**
 * The objects in which messages' headers are handed to the driver, used again. amqplib makes the headers of each message the prototype of
 * an object of its own, and the first time an object becomes one costs 2 to 3 µs and room that only a full collection frees. So those of a message
 * serve another, with the same names, once the driver has called back for it, and not before: whoever keeps a message until
 * then finds it as it was.
 *
 * Only headers of our own names; what a sender adds has any names, and is made anew.
 */
import type { OutgoingMessage } from './transport.ts';

export type RabbitHeaders = Record<string, unknown>;

export class SpareHeaders {
  readonly #spare: RabbitHeaders[][] = Array.from({ length: SHAPES }, () => []);

  take(message: OutgoingMessage): RabbitHeaders {
    const shape = shapeOf(message);
    return (shape < 0 ? undefined : this.#spare[shape]!.pop()) ?? {};
  }

  /** The driver has no more use for them. Those that somebody has added to on the way (tracing does) would carry it into another message. */
  giveBack(message: OutgoingMessage, headers: RabbitHeaders): void {
    const shape = shapeOf(message);
    if (shape < 0 || this.#spare[shape]!.length >= SPARE_MAX) return;
    if (Object.keys(headers).length === NAMES[shape]) this.#spare[shape]!.push(headers);
  }
}

/** Messages of one shape have the same names in their headers; -1: may have others than ours. */
function shapeOf({ headers, key, tag, topic, routingKey, createdAt }: OutgoingMessage): number {
  if (headers !== undefined && headers.size > 0) return -1;
  return (
    (key === undefined ? 0 : 1) |
    (tag === undefined ? 0 : 2) |
    (routingKey === undefined || routingKey === topic ? 0 : 4) |
    (createdAt === undefined ? 0 : 8)
  );
}

const SHAPES = 16;
/** How many names the headers of each shape have: one per bit. */
const NAMES = Array.from({ length: SHAPES }, (_, shape) => [1, 2, 4, 8].filter((bit) => (shape & bit) !== 0).length);
/** Of one shape: as many as are on their way by default. */
const SPARE_MAX = 2_000;
