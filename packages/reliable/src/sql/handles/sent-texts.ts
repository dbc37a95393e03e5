/**
 * The statement that a connection of pg is being answered, for libraries that show the connection only and keep its client to themselves:
 * what the client has the connection send is listened to, from the first question on and for the life of the connection. Every statement
 * ends with one ReadyForQuery, in the order of sending.
 */
import { member } from './library.ts';

/** Answers the text, or undefined where it is not known. */
export function textOnItsWay(connection: Connection): () => unknown {
  const texts: unknown[] = [];
  const sent = connection as unknown as Sending;
  let parsed: unknown;
  after(sent, 'query', (text) => void texts.push(text));
  after(sent, 'parse', (query) => void (parsed = member(query, 'text')));
  // One that was parsed before is only named.
  after(sent, 'bind', (bound) => void (parsed ??= member(sent.parsedStatements, String(member(bound, 'statement')))));
  after(sent, 'sync', () => {
    texts.push(parsed);
    parsed = undefined;
  });
  connection.on('readyForQuery', () => void texts.shift());
  return () => texts[0];
}

interface Connection {
  on(event: string, listener: () => void): unknown;
}

type Call = 'query' | 'parse' | 'bind' | 'sync';
type Sending = Record<Call, (given: unknown, ...rest: unknown[]) => unknown> & { readonly parsedStatements?: unknown };

function after(connection: Sending, name: Call, call: (given: unknown) => void): void {
  const original = connection[name];
  if (typeof original !== 'function') return;
  connection[name] = function (given, ...rest) {
    call(given);
    return original.call(this, given, ...rest);
  };
}
