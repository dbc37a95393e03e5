import type { Subscription } from './subscription.ts';

export interface ConsumerChannel<P> {
  readonly peer: P;
  readonly clientId: string;
  readonly language: string;
  readonly version: number;
  /** Monotonic ms of the last heartbeat. */
  lastSeenMs: number;
}

/** What a heartbeat says about one of its groups. */
export interface ConsumerHello {
  readonly group: string;
  /** `CONSUME_PASSIVELY` is push, `CONSUME_ACTIVELY` pull. */
  readonly consumeType: string;
  /** `CLUSTERING` or `BROADCASTING`. */
  readonly messageModel: string;
  readonly consumeFromWhere: string;
  readonly subscriptions: readonly Subscription[];
}

export interface ConsumerGroup<P> extends Omit<ConsumerHello, 'subscriptions'> {
  readonly channels: ReadonlyMap<P, ConsumerChannel<P>>;
  readonly subscriptions: ReadonlyMap<string, Subscription>;
}

/**
 * Who consumes in which group, and what of. Every member computes the distribution of queues by itself from the list of members,
 * so `changed` fires at once whenever a member comes or goes or the subscriptions change: late news would mean two owners of a
 * queue for that long.
 */
export class ConsumerGroups<P> {
  readonly #groups = new Map<string, GroupState<P>>();
  readonly #groupsMax: number;
  readonly #changed: (group: ConsumerGroup<P>) => void;

  constructor(groupsMax: number, changed: (group: ConsumerGroup<P>) => void) {
    this.#groupsMax = groupsMax;
    this.#changed = changed;
  }

  /** Records a heartbeat; the latest one decides type, model and start. False when there are too many groups. */
  register(hello: ConsumerHello, channel: ConsumerChannel<P>): boolean {
    let state = this.#groups.get(hello.group);
    if (state === undefined) {
      if (this.#groups.size >= this.#groupsMax) return false;
      state = { ...hello, channels: new Map(), subscriptions: new Map() };
      this.#groups.set(hello.group, state);
    }
    state.consumeType = hello.consumeType;
    state.messageModel = hello.messageModel;
    state.consumeFromWhere = hello.consumeFromWhere;
    const known = state.channels.get(channel.peer);
    state.channels.set(channel.peer, channel);
    const joined = known === undefined || known.clientId !== channel.clientId;
    const resubscribed = updateSubscriptions(state.subscriptions, hello.subscriptions);
    if (joined || resubscribed) this.#changed(state);
    return true;
  }

  unregister(group: string, peer: P): void {
    const state = this.#groups.get(group);
    if (state?.channels.delete(peer) !== true) return;
    if (state.channels.size === 0) this.#groups.delete(group);
    this.#changed(state);
  }

  /** A connection has closed. */
  leave(peer: P): void {
    for (const group of [...this.#groups.keys()]) this.unregister(group, peer);
  }

  /** Drops who has been silent since before `sinceMs`. */
  expire(sinceMs: number): void {
    for (const [group, state] of [...this.#groups]) {
      for (const channel of [...state.channels.values()]) if (channel.lastSeenMs < sinceMs) this.unregister(group, channel.peer);
    }
  }

  group(name: string): ConsumerGroup<P> | undefined {
    return this.#groups.get(name);
  }

  subscription(group: string, topic: string): Subscription | undefined {
    return this.#groups.get(group)?.subscriptions.get(topic);
  }

  /** Client ids of the members, sorted; one client counts once. */
  members(group: string): readonly string[] {
    const channels = this.#groups.get(group)?.channels;
    if (channels === undefined) return [];
    return [...new Set([...channels.values()].map((channel) => channel.clientId))].sort();
  }

  /** Groups that subscribe to a topic. */
  groupsOf(topic: string): readonly string[] {
    return [...this.#groups.values()].filter((state) => state.subscriptions.has(topic)).map((state) => state.group);
  }

  names(): readonly string[] {
    return [...this.#groups.keys()];
  }
}

interface GroupState<P> {
  readonly group: string;
  consumeType: string;
  messageModel: string;
  consumeFromWhere: string;
  readonly channels: Map<P, ConsumerChannel<P>>;
  readonly subscriptions: Map<string, Subscription>;
}

/** A newer version replaces silently; topics that come or go are a change of the group (RocketMQ's rule). */
function updateSubscriptions(known: Map<string, Subscription>, given: readonly Subscription[]): boolean {
  let changed = false;
  const topics = new Set<string>();
  for (const subscription of given) {
    topics.add(subscription.topic);
    const old = known.get(subscription.topic);
    if (old === undefined) changed = true;
    if (old === undefined || subscription.version > old.version) known.set(subscription.topic, subscription);
  }
  for (const topic of [...known.keys()]) {
    if (topics.has(topic)) continue;
    known.delete(topic);
    changed = true;
  }
  return changed;
}
