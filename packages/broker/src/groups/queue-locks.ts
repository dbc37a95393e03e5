/**
 * Leases on queues for groups that consume in order: one client at a time works on a queue. A lease holds `leaseMs` from its
 * last renewal and is lost with the broker's memory; clients renew every 20 s and distrust their own after 30 s.
 */
export class QueueLocks {
  readonly #groups = new Map<string, Map<string, Lease>>();
  readonly #leaseMs: number;

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  /** Takes or renews; false while another client's lease holds. `nowMs` is monotonic. */
  lock(group: string, topic: string, queueId: number, clientId: string, nowMs: number): boolean {
    let leases = this.#groups.get(group);
    if (leases === undefined) this.#groups.set(group, (leases = new Map()));
    const key = `${topic}@${queueId}`;
    const held = leases.get(key);
    if (held !== undefined && held.clientId !== clientId && held.untilMs > nowMs) return false;
    leases.set(key, { clientId, untilMs: nowMs + this.#leaseMs });
    return true;
  }

  /** Gives a lease back; another client's is left alone. */
  unlock(group: string, topic: string, queueId: number, clientId: string): void {
    const leases = this.#groups.get(group);
    const key = `${topic}@${queueId}`;
    if (leases?.get(key)?.clientId !== clientId) return;
    leases.delete(key);
    if (leases.size === 0) this.#groups.delete(group);
  }

  /** True while any queue of a group is leased: such a group's overdue retries go to the dead letters at once (RocketMQ). */
  holdsAny(group: string, nowMs: number): boolean {
    for (const lease of this.#groups.get(group)?.values() ?? []) if (lease.untilMs > nowMs) return true;
    return false;
  }

  /** Forgets leases that have run out. */
  expire(nowMs: number): void {
    for (const [group, leases] of [...this.#groups]) {
      for (const [key, lease] of [...leases]) if (lease.untilMs <= nowMs) leases.delete(key);
      if (leases.size === 0) this.#groups.delete(group);
    }
  }
}

interface Lease {
  readonly clientId: string;
  readonly untilMs: number;
}
