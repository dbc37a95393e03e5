/**
 * Follows the routes of a consumer's topics: when each has been answered for the first time, and when one has other queues than before. A
 * topic that does not exist yet has none, though a producer may know already which it would get.
 */
import { keyText, type QueueKey } from '../route/queue-key.ts';
import type { RouteTable, RouteWatcher } from '../route/route-table.ts';
import type { TopicRoute } from '../route/topic-route.ts';

export class TopicWatch {
  readonly #routes: RouteTable;
  readonly #changed: () => void;
  readonly #watchers = new Map<string, RouteWatcher>();

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
      const watcher: RouteWatcher = (_error, route) => {
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

  close(): void {
    for (const [topic, watcher] of this.#watchers) this.#routes.unwatch(topic, watcher);
    this.#watchers.clear();
  }
}

/** Undefined while nobody knows of any. */
export function readable(route: TopicRoute | undefined): readonly QueueKey[] | undefined {
  return route?.isStandIn === false ? route.readQueues : undefined;
}
