/**
 * The routes of all topics in use, asked for once, kept fresh by polling, and renewed at once when a broker's answer shows that one is
 * stale. Everyone who needs a topic watches it and hears of each change; a lookup that fails is repeated until it succeeds, and its
 * watchers hear of each failure. One lookup per topic is under way at a time. A stand-in for a topic that does not exist is asked for
 * again as a failed lookup is: the first message makes the topic, and its consumers wait for that.
 *
 *    the last lookup                     the next one
 *    a route                             routeIntervalMs later
 *    there is no such topic (yet)        routeRetryMs later, each time twice as much, up to routeRetryMaxMs
 *    failed                              routeRetryMs later
 *    either, no route and nobody waits   as soon as somebody does
 */
import type { Timer, Timers } from '@tallystick/base';
import type { ClientError } from '../errors.ts';
import type { TopicRoute } from './topic-route.ts';

export interface RouteSource {
  route(topic: string, newQueues: number, done: (error: ClientError | undefined, route: TopicRoute) => void): void;
}

/** Hears of a route (again), or of a failed attempt to learn it. */
export type RouteWatcher = (error: ClientError | undefined, route: TopicRoute | undefined) => void;

export interface RouteOptions {
  readonly routeIntervalMs: number;
  readonly routeRetryMs: number;
  readonly routeRetryMaxMs: number;
}

interface Entry {
  readonly topic: string;
  route: TopicRoute | undefined;
  /** Queues to ask for if the topic is made for us; 0: never made by us (consumers). */
  newQueues: number;
  asking: boolean;
  timer: Timer | undefined;
  /** Answers in a row that there is no such topic. */
  missed: number;
  /** Nobody waits for the route of a topic that has none: it is not asked for until somebody does. */
  resting: boolean;
  /** Each with whether it waits for a first route now. */
  readonly watchers: Map<RouteWatcher, () => boolean>;
}

export class RouteTable {
  readonly #source: RouteSource;
  readonly #timers: Timers;
  readonly #options: RouteOptions;
  /** Hears of every route that arrives. */
  readonly #learned: (route: TopicRoute) => void;
  readonly #entries = new Map<string, Entry>();
  readonly #addresses = new Map<string, string>();
  #closed = false;

  constructor(source: RouteSource, timers: Timers, options: RouteOptions, learned: (route: TopicRoute) => void) {
    this.#source = source;
    this.#timers = timers;
    this.#options = options;
    this.#learned = learned;
  }

  get(topic: string): TopicRoute | undefined {
    return this.#entries.get(topic)?.route;
  }

  /** The master of a broker, as any route has told it last. */
  addressOf(brokerName: string): string | undefined {
    return this.#addresses.get(brokerName);
  }

  /**
   * Follows a topic; the watcher is called with each route and each failure, not with what is known already. A watcher for which `waits`
   * is false hears of no further attempts while there is no route; see `need`.
   */
  watch(topic: string, newQueues: number, watcher: RouteWatcher, waits: () => boolean = always): void {
    let entry = this.#entries.get(topic);
    if (entry === undefined) {
      const watchers: Entry['watchers'] = new Map();
      entry = { topic, route: undefined, newQueues, asking: false, timer: undefined, missed: 0, resting: false, watchers };
      this.#entries.set(topic, entry);
    }
    entry.newQueues = Math.max(entry.newQueues, newQueues);
    entry.watchers.set(watcher, waits);
    if (isSettled(entry.route)) return;
    entry.missed = 0;
    this.#ask(entry);
  }

  /** Somebody who watches the topic waits for its route now. */
  need(topic: string): void {
    const entry = this.#entries.get(topic);
    if (entry?.resting === true) this.#ask(entry);
  }

  unwatch(topic: string, watcher: RouteWatcher): void {
    const entry = this.#entries.get(topic);
    if (entry === undefined) return;
    entry.watchers.delete(watcher);
    if (entry.watchers.size > 0) return;
    this.#cancel(entry);
    this.#entries.delete(topic);
  }

  /** Asks again now: an answer has shown that the route is stale. */
  refresh(topic: string): void {
    const entry = this.#entries.get(topic);
    if (entry !== undefined) this.#ask(entry);
  }

  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) this.#cancel(entry);
    this.#entries.clear();
  }

  #ask(entry: Entry): void {
    if (entry.asking || this.#closed) return;
    entry.asking = true;
    entry.resting = false;
    this.#cancel(entry);
    const { newQueues } = entry;
    this.#source.route(entry.topic, newQueues, (error, route) => {
      entry.asking = false;
      if (this.#closed || this.#entries.get(entry.topic) !== entry) return;
      // A consumer had asked when a producer came, for whom a topic may be made: this is no answer to the producer.
      if (error !== undefined && newQueues === 0 && entry.newQueues > 0) return this.#ask(entry);
      if (error === undefined) this.#learn(entry, route);
      entry.timer = this.#timers.after(this.#pauseMs(entry, error), () => {
        entry.timer = undefined;
        if (entry.route === undefined && ![...entry.watchers.values()].some((waits) => waits())) entry.resting = true;
        else this.#ask(entry);
      });
      for (const watcher of [...entry.watchers.keys()]) watcher(error, entry.route);
    });
  }

  #pauseMs(entry: Entry, error: ClientError | undefined): number {
    const { routeIntervalMs, routeRetryMs, routeRetryMaxMs } = this.#options;
    if (isSettled(entry.route)) return routeIntervalMs;
    if (error !== undefined && error.outcome !== 'unroutable') return routeRetryMs;
    const maxMs = Math.max(routeRetryMs, Math.min(routeRetryMaxMs, routeIntervalMs));
    return Math.min(maxMs, routeRetryMs * 2 ** entry.missed++);
  }

  #learn(entry: Entry, route: TopicRoute): void {
    entry.route = route;
    if (isSettled(route)) entry.missed = 0;
    for (const [brokerName, address] of route.addresses) this.#addresses.set(brokerName, address);
    this.#learned(route);
  }

  #cancel(entry: Entry): void {
    if (entry.timer !== undefined) this.#timers.cancel(entry.timer);
    entry.timer = undefined;
  }
}

function always(): boolean {
  return true;
}

/** Nothing is expected to change soon. */
function isSettled(route: TopicRoute | undefined): boolean {
  return route !== undefined && !route.isStandIn;
}
