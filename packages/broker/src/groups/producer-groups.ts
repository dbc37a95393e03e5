/** A client's connection as groups know it. `P` is the connection itself (a Peer; anything in tests). */
export interface ProducerChannel<P> {
  readonly peer: P;
  readonly clientId: string;
  readonly language: string;
  readonly version: number;
  /** Monotonic ms of the last heartbeat. */
  lastSeenMs: number;
}

/**
 * Which connections produce for which group; check-back asks one of them about a group's half messages. A connection is in a
 * group from its heartbeat until it unregisters, closes, or is silent for the expiry time.
 */
export class ProducerGroups<P> {
  readonly #groups = new Map<string, Map<P, ProducerChannel<P>>>();
  readonly #groupsMax: number;
  #turn = 0;

  constructor(groupsMax: number) {
    this.#groupsMax = groupsMax;
  }

  /** Records a heartbeat. False when there are too many groups. */
  register(group: string, channel: ProducerChannel<P>): boolean {
    let channels = this.#groups.get(group);
    if (channels === undefined) {
      if (this.#groups.size >= this.#groupsMax) return false;
      channels = new Map();
      this.#groups.set(group, channels);
    }
    channels.set(channel.peer, channel);
    return true;
  }

  unregister(group: string, peer: P): void {
    const channels = this.#groups.get(group);
    if (channels?.delete(peer) === true && channels.size === 0) this.#groups.delete(group);
  }

  /** A connection has closed. */
  leave(peer: P): void {
    for (const group of [...this.#groups.keys()]) this.unregister(group, peer);
  }

  /** Drops who has been silent since before `sinceMs`. */
  expire(sinceMs: number): void {
    for (const [group, channels] of [...this.#groups]) {
      for (const channel of [...channels.values()]) if (channel.lastSeenMs < sinceMs) this.unregister(group, channel.peer);
    }
  }

  /**
   * One connection of a group to ask, taken in turn; the first of at most three that can be written to. undefined when the group
   * has none: a question that cannot be sent is not counted as one.
   */
  pick(group: string, writable: (peer: P) => boolean): P | undefined {
    const channels = this.#groups.get(group);
    if (channels === undefined) return undefined;
    const peers = [...channels.keys()];
    this.#turn = (this.#turn + 1) % 0x7fffffff;
    for (let tried = 0; tried < Math.min(3, peers.length); tried++) {
      const peer = peers[(this.#turn + tried) % peers.length]!;
      if (writable(peer)) return peer;
    }
    return undefined;
  }

  has(group: string): boolean {
    return this.#groups.has(group);
  }

  channels(group: string): readonly ProducerChannel<P>[] {
    return [...(this.#groups.get(group)?.values() ?? [])];
  }

  names(): readonly string[] {
    return [...this.#groups.keys()];
  }
}
