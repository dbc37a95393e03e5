/**
 * Locks on queues for orderly consumption. The broker grants a queue to one member for a lease and the owner renews it; who could not
 * renew for `lockLostMs` must assume that another member has the queue, before the broker's lease (60 s) ends, and stops.
 */
import type { Clock, Timer, Timers } from '@tallystick/base';
import { type QueueKey, keyText } from '../route/queue-key.ts';
import type { GroupCalls } from './group-calls.ts';

export interface LockOptions {
  readonly lockIntervalMs: number;
  readonly lockLostMs: number;
}

interface Lock {
  readonly key: QueueKey;
  /** Monotonic ms of the request that the broker granted last. */
  renewedMs: number;
}

export class QueueLocks {
  readonly #calls: Pick<GroupCalls<never>, 'lock' | 'unlock'>;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #options: LockOptions;
  readonly #lost: (key: QueueKey) => void;
  readonly #locks = new Map<string, Lock>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(
    calls: Pick<GroupCalls<never>, 'lock' | 'unlock'>,
    ports: { readonly clock: Clock; readonly timers: Timers },
    options: LockOptions,
    lost: (key: QueueKey) => void,
  ) {
    this.#calls = calls;
    this.#ports = ports;
    this.#options = options;
    this.#lost = lost;
  }

  start(): void {
    this.#timer = this.#ports.timers.after(this.#options.lockIntervalMs, () => {
      this.#renew();
      if (!this.#stopped) this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
  }

  /** True while the lock of a queue is certain. */
  holds(key: QueueKey, nowMs: number): boolean {
    const lock = this.#locks.get(keyText(key));
    return lock !== undefined && nowMs - lock.renewedMs < this.#options.lockLostMs;
  }

  /** Asks for locks; `done` gets those that were granted. */
  acquire(keys: readonly QueueKey[], done: (granted: readonly QueueKey[]) => void): void {
    const askedMs = this.#ports.clock.monotonic();
    this.#calls.lock(keys, (_error, granted) => {
      for (const key of granted) this.#locks.set(keyText(key), { key, renewedMs: askedMs });
      done(granted);
    });
  }

  release(key: QueueKey): void {
    if (this.#locks.delete(keyText(key))) this.#calls.unlock([key]);
  }

  releaseAll(): void {
    const keys = [...this.#locks.values()].map((lock) => lock.key);
    this.#locks.clear();
    if (keys.length > 0) this.#calls.unlock(keys);
  }

  #renew(): void {
    const held = [...this.#locks.values()];
    if (held.length === 0) return;
    const askedMs = this.#ports.clock.monotonic();
    this.#calls.lock(
      held.map((lock) => lock.key),
      (error, granted) => {
        const got = new Set(granted.map(keyText));
        const nowMs = this.#ports.clock.monotonic();
        for (const lock of held) {
          if (this.#locks.get(keyText(lock.key)) !== lock) continue;
          if (got.has(keyText(lock.key))) lock.renewedMs = askedMs;
          // A broker that answered without this queue has given it to another member.
          else if (error === undefined || nowMs - lock.renewedMs >= this.#options.lockLostMs) this.#lose(lock);
        }
      },
    );
  }

  #lose(lock: Lock): void {
    this.#locks.delete(keyText(lock.key));
    this.#lost(lock.key);
  }
}
