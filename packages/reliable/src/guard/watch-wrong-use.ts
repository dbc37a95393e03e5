/**
 * The wrong solution that everybody writes first is to publish, or to call another service, in the middle of a transaction: the
 * message is out before the commit, or although there is none. This guard finds it while a program is developed and tested: it
 * follows the asynchronous context of every transaction it knows of (those of `transaction(db, fn)`, and any other from its first
 * message or inbox key on) and reports HTTP calls, and publishes of what it was told to watch, that are made while one is open. It
 * changes nothing else, and when it is off there is nothing of it in the way.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { whenEnded } from '../outbox/after-commit.ts';
import { tracking, type Tracker } from '../sql/tracking.ts';
import type { Session } from '../sql/session.ts';

export interface WrongUse {
  readonly kind: 'http' | 'publish';
  /** `GET https://…`, or the name of the method that was called. */
  readonly what: string;
  /** Where the call was made. */
  readonly stack: string;
  /** Where the transaction that is open was seen first. */
  readonly transactionStack: string;
}

export interface WatchSettings {
  /** Default: a process warning per place in the program. */
  readonly onReport?: ((report: WrongUse) => void) | undefined;
  /** What a program does on purpose, such as a database that is reached by HTTP. */
  readonly ignore?: ((report: WrongUse) => boolean) | undefined;
}

export interface WrongUseWatch {
  /**
   * Watches calls of `methods` on `target`, a transport, a channel of amqplib, a producer, and returns it. Default: those of `publish`,
   * `sendToQueue`, `send` and `sendMany` that it has.
   */
  watch<T extends object>(target: T, methods?: readonly (keyof T & string)[]): T;
  /** Puts everything back as it was. */
  stop(): void;
}

/** Starts to watch. For development and tests: following the context of every transaction has a price. */
export function watchWrongUse(settings: WatchSettings = {}): WrongUseWatch {
  return new Watch(settings);
}

/** A transaction that was seen, in the context that began or used it. */
interface Seen {
  open: boolean;
  readonly stack: string;
}

/** Contexts are shared by all watches, so that one transaction is followed once. */
const context = new AsyncLocalStorage<Seen>();
const sessions = new WeakMap<object, Seen>();
const active = new Set<Watch>();

const tracker: Tracker = { around, used };

function around<T>(work: () => T, onEnded: (ended: () => void) => void): T {
  const seen: Seen = { open: true, stack: stackHere(around) };
  onEnded(() => (seen.open = false));
  return context.run(seen, work);
}

function used(session: object): void {
  if (context.getStore()?.open === true) return;
  let seen = sessions.get(session);
  if (seen?.open !== true) {
    const fresh: Seen = { open: true, stack: stackHere(used) };
    // A transaction whose end cannot be seen would be reported for ever.
    if (!whenEnded(session as Session, () => (fresh.open = false))) return;
    sessions.set(session, (seen = fresh));
  }
  context.enterWith(seen);
}

class Watch implements WrongUseWatch {
  readonly #settings: WatchSettings;
  readonly #restores: (() => void)[] = [];
  readonly #warned = new Set<string>();

  constructor(settings: WatchSettings) {
    this.#settings = settings;
    active.add(this);
    tracking.tracker = tracker;
    this.#watchFetch();
    const started = (message: unknown): void => {
      const { request } = message as { request: { method: string; protocol: string; host: string; path: string } };
      this.#made('http', `${request.method} ${request.protocol}//${request.host}${request.path}`, started);
    };
    // Requests of node:http and node:https, whoever makes them.
    subscribe(REQUEST_START, started);
    this.#restores.push(() => unsubscribe(REQUEST_START, started));
  }

  watch<T extends object>(target: T, methods: readonly string[] = PUBLISHING): T {
    for (const name of methods) {
      const own = Object.getOwnPropertyDescriptor(target, name);
      const method = (target as Record<string, unknown>)[name];
      if (typeof method !== 'function') continue;
      const watched = (...given: unknown[]): unknown => {
        this.#made('publish', name, watched);
        return method.apply(target, given);
      };
      Object.defineProperty(target, name, {
        value: watched,
        configurable: true,
        writable: true,
        enumerable: own?.enumerable ?? false,
      });
      this.#restores.push(() => {
        if (own === undefined) Reflect.deleteProperty(target, name);
        else Object.defineProperty(target, name, own);
      });
    }
    return target;
  }

  stop(): void {
    for (const restore of this.#restores.splice(0).reverse()) restore();
    active.delete(this);
    if (active.size === 0) tracking.tracker = undefined;
  }

  /** Node's fetch has no channel of its own that speaks in the caller's context. */
  #watchFetch(): void {
    const { fetch } = globalThis;
    const watched: typeof fetch = (input, init) => {
      const [method, url] = input instanceof Request ? [input.method, input.url] : [init?.method ?? 'GET', String(input)];
      this.#made('http', `${method} ${url}`, watched);
      return fetch(input, init);
    };
    globalThis.fetch = watched;
    this.#restores.push(() => {
      if (globalThis.fetch === watched) globalThis.fetch = fetch;
    });
  }

  #made(kind: WrongUse['kind'], what: string, above: (...given: never[]) => unknown): void {
    const seen = context.getStore();
    if (seen?.open !== true) return;
    const report = { kind, what, stack: stackHere(above), transactionStack: seen.stack };
    if (this.#settings.ignore?.(report) === true) return;
    const { onReport = (one: WrongUse): void => this.#warn(one) } = this.#settings;
    // The program goes on as if nobody watched; what a reporter throws is its own affair.
    try {
      onReport(report);
    } catch (error) {
      process.emitWarning(`watchWrongUse: onReport threw ${String(error)}`, 'TallystickWrongUse');
    }
  }

  #warn({ what, stack, transactionStack }: WrongUse): void {
    if (this.#warned.has(stack) || this.#warned.size >= WARNINGS_MAX) return;
    this.#warned.add(stack);
    const sentence = `${what} inside an open transaction: it happens even if the transaction is rolled back; add a message to the outbox instead`;
    process.emitWarning(`${sentence}\n${stack}\n  the transaction:\n${transactionStack}`, 'TallystickWrongUse');
  }
}

const REQUEST_START = 'http.client.request.start';
const PUBLISHING = ['publish', 'sendToQueue', 'send', 'sendMany'];
/** Places that are warned of; a program with more of them has been told enough. */
const WARNINGS_MAX = 1_000;

/** The frames below `above`. */
function stackHere(above: (...given: never[]) => unknown): string {
  const place = { stack: '' };
  Error.captureStackTrace(place, above);
  return place.stack.split('\n').slice(1).join('\n');
}
