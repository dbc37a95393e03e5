import type { Timer, Timers } from '@tallystick/base';
import type { QueueRef } from '../store/queue-ref.ts';

/** A pull that waits. `wake` is called once: a message has come, or the time is up. Not called after {@link PullHold.drop}. */
export interface HeldPull {
  readonly queue: QueueRef;
  /** First offset wanted. */
  readonly offset: number;
  wake(): void;
  /** Of the hold. */
  timer?: Timer | undefined;
}

/**
 * Parks pulls that found nothing until a message arrives in their queue or their time is up. Waiting costs an entry in the
 * queue's own list and a timer; waking looks only at the queue that moved, so ten thousand waiting pulls cost the others nothing.
 */
export class PullHold {
  readonly #timers: Timers;
  readonly #max: number;
  #held = 0;

  constructor(timers: Timers, max: number) {
    this.#timers = timers;
    this.#max = max;
  }

  get size(): number {
    return this.#held;
  }

  /** False when too many wait already; then the pull is answered at once. */
  hold(pull: HeldPull, ms: number): boolean {
    if (this.#held >= this.#max) return false;
    const waiting = (pull.queue.holder ??= new Set<HeldPull>()) as Set<HeldPull>;
    waiting.add(pull);
    this.#held++;
    pull.timer = this.#timers.after(ms, () => {
      if (this.drop(pull)) pull.wake();
    });
    return true;
  }

  /** The visible end of a queue moved. */
  arrived(queue: QueueRef, maxOffset: number): void {
    const waiting = queue.holder as Set<HeldPull> | undefined;
    if (waiting === undefined) return;
    for (const pull of [...waiting]) if (pull.offset < maxOffset && this.drop(pull)) pull.wake();
  }

  /** Forgets a pull; false when it does not wait (any more). */
  drop(pull: HeldPull): boolean {
    const waiting = pull.queue.holder as Set<HeldPull> | undefined;
    if (waiting?.delete(pull) !== true) return false;
    if (waiting.size === 0) pull.queue.holder = undefined;
    this.#held--;
    if (pull.timer !== undefined) this.#timers.cancel(pull.timer);
    return true;
  }
}
