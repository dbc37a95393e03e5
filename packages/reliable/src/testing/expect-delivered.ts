import { isDeepStrictEqual } from 'node:util';
import type { MemoryBroker } from '../transports/memory.ts';
import type { OutgoingMessage } from '../transports/transport.ts';

/** What a message must be; what is left out may be anything. A body that is an object is compared with the message's JSON. */
export interface Wanted {
  readonly id?: string | undefined;
  readonly topic?: string | undefined;
  readonly type?: string | undefined;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: unknown;
}

/**
 * Throws unless the broker was given exactly `times` messages (default 1) like `wanted`, and says what it was given instead. Repeats of a
 * message are one message: a broker may always be given it twice. Returns the messages, each as it came first.
 */
export function expectDelivered(broker: Pick<MemoryBroker, 'stored'>, wanted: Wanted, times = 1): OutgoingMessage[] {
  const messages = [...new Map(broker.stored.toReversed().map((message) => [message.id, message])).values()].toReversed();
  const found = messages.filter((message) => matches(message, wanted));
  if (found.length === times) return found;
  const given = messages.slice(0, SHOWN_MAX).map((message) => `  ${shown(message)}`);
  if (messages.length > SHOWN_MAX) given.push(`  and ${messages.length - SHOWN_MAX} more`);
  throw new Error(
    `expected ${times} message(s) like ${JSON.stringify(wanted)}, found ${found.length} among ${messages.length}:\n${given.join('\n')}`,
  );
}

const SHOWN_MAX = 20;

function matches(message: OutgoingMessage, { headers = {}, body, ...fields }: Wanted): boolean {
  const same = Object.entries(fields).every(
    ([name, value]) => value === undefined || (message as unknown as Record<string, unknown>)[name] === value,
  );
  return (
    same &&
    Object.entries(headers).every(([name, value]) => message.headers?.get(name) === value) &&
    (body === undefined || sameBody(message.body, body))
  );
}

function sameBody(given: Uint8Array, wanted: unknown): boolean {
  if (wanted instanceof Uint8Array) return Buffer.compare(given, wanted) === 0;
  const text = Buffer.from(given).toString('utf8');
  if (typeof wanted === 'string') return text === wanted;
  try {
    return isDeepStrictEqual(JSON.parse(text), JSON.parse(JSON.stringify(wanted)));
  } catch {
    return false;
  }
}

function shown({ id, topic, type, key, body }: OutgoingMessage): string {
  return JSON.stringify({ id, topic, type, key, body: Buffer.from(body).toString('utf8').slice(0, 200) });
}
