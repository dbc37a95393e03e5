/** What the two ways of consuming share: how a message reaches the user's handler and how the verdict comes back. */
import type { Held, ProcessQueue } from './process-queue.ts';

/**
 * Calls the user's code for one message. `settle` is called exactly once, now or later: without an error the message is done,
 * with one it failed and will come again.
 */
export type Handle<M> = (message: M, settle: (error?: unknown) => void) => void;

/** Hands pulled messages to handlers. */
export interface Runner<M> {
  /** A queue has messages that no handler has got. */
  offer(queue: ProcessQueue<M>): void;
  /** Handlers at work. */
  readonly running: number;
  /** Starts no further handler; those at work go on. */
  stop(): void;
  /** Called by the owner every second or so. */
  sweep(nowMs: number): void;
}

/** What a runner asks of the consumer it works for. */
export interface RunnerOwner<M> {
  /** A message is finished, its queue may have room again and a higher offset to commit. */
  finished(held: Held<M>): void;
  /** No handler has a message of this dropped queue any more, and one that failed was not finished. */
  idle(queue: ProcessQueue<M>): void;
  /**
   * A handler failed. `done(true)`: the message has been handed on (retry or dead-letter topic) and counts as finished here;
   * `done(false)`: it could not be, and must be tried again here.
   */
  failed(held: Held<M>, error: unknown, done: (handedOn: boolean) => void): void;
  /** The user's handler broke its contract or a call failed; worth a line in a log. */
  report(sentence: string, cause: unknown): void;
}
