/**
 * Follows the routes of a consumer's topics: when each has been answered for the first time, whether it existed then, and when one has
 * other queues than before. A topic that does not exist yet has none, though a producer may know already which it would get.
 */
import { ResponseCode } from '@tallystick/remoting';
import type { ClientError } from '../errors.ts';
import { keyText, type QueueKey } from '../route/queue-key.ts';
import type { RouteTable, RouteWatcher } from '../route/route-table.ts';
import type { TopicRoute } from '../route/topic-route.ts';

export class TopicWatch {
  readonly #routes: RouteTable;
  readonly #changed: () => void;
  readonly #watchers = new Map<string, RouteWatcher>();
  /** By topic, what the first answer that told has told: a name server that is busy or out of reach tells nothing. */
  readonly #existed = new Map<string, boolean>();

  /** `changed`: a topic has gained or lost readable queues. */
  constructor(routes: RouteTable, changed: () => void) {
    this.#routes = routes;
    this.#changed = changed;
  }

  /** Follows topics from now on; `first` once each has a route, or an answer that it has none. */
  follow(topics: readonly string[], first: () => void): void {
    let left = topics.length;
    for (const topic of topics) {
      let seen: string | undefined;
      const watcher: RouteWatcher = (error, route) => {
        const exists = existence(error, route);
        if (exists !== undefined && !this.#existed.has(topic)) this.#existed.set(topic, exists);
        const queues = (readable(route) ?? []).map(keyText).join();
        const isChange = seen !== undefined && queues !== seen;
        if (seen === undefined && --left === 0) first();
        seen = queues;
        if (isChange) this.#changed();
      };
      this.#watchers.set(topic, watcher);
      this.#routes.watch(topic, 0, watcher);
      const known = this.#routes.get(topic);
      // A stand-in has just been asked for again.
      if (known?.isStandIn === false) watcher(undefined, known);
    }
  }

  /** True for a topic that did not exist when it was followed: whatever it holds has come since. */
  isNew(topic: string): boolean {
    return this.#existed.get(topic) === false;
  }

  close(): void {
    for (const [topic, watcher] of this.#watchers) this.#routes.unwatch(topic, watcher);
    this.#watchers.clear();
  }
}

/** Undefined while nobody knows of any. */
export function readable(route: TopicRoute | undefined): readonly QueueKey[] | undefined {
  return route?.isStandIn === false ? route.readQueues : undefined;
}

/** Whether an answer says that its topic exists; undefined when it says neither. */
function existence(error: ClientError | undefined, route: TopicRoute | undefined): boolean | undefined {
  if (error !== undefined) return error.responseCode === ResponseCode.TOPIC_NOT_EXIST ? false : undefined;
  return route === undefined ? undefined : !route.isStandIn;
}
