/**
 * How far each assigned queue has been consumed, and what of that the broker knows. Commits say the lowest unfinished offset, so
 * a crash repeats messages and never skips one. Changed offsets go out one-way every few seconds; at hand-over and at close they
 * are answered, hence durable.
 */
import { type QueueKey, keyText } from '../route/queue-key.ts';

/** Sends one offset to the broker that hosts the queue. */
export type Commit = (key: QueueKey, offset: number, answered: boolean, done: (error: unknown) => void) => void;

interface Row {
  readonly key: QueueKey;
  /** Asked at each commit, so finishing a message costs nothing here. */
  readonly read: () => number;
  /** What the broker was told last; undefined: nothing, or it is uncertain. */
  told: number | undefined;
}

export class OffsetStore {
  readonly #commit: Commit;
  readonly #rows = new Map<string, Row>();

  constructor(commit: Commit) {
    this.#commit = commit;
  }

  /** Follows a queue. `told` is the offset that the broker has stored, if it has one. */
  follow(key: QueueKey, told: number | undefined, read: () => number): void {
    this.#rows.set(keyText(key), { key, read, told });
  }

  /** Tells every offset that changed; one-way, nothing waits for it. */
  tellChanged(): void {
    for (const row of this.#rows.values()) {
      const offset = row.read();
      if (offset === row.told) continue;
      row.told = offset;
      this.#commit(row.key, offset, false, (error) => {
        if (error !== undefined) row.told = undefined;
      });
    }
  }

  /** Tells one offset and waits for the answer. A queue that is not followed needs nothing. */
  tell(key: QueueKey, done: (error: unknown) => void): void {
    const row = this.#rows.get(keyText(key));
    if (row === undefined) return done(undefined);
    const offset = row.read();
    this.#commit(key, offset, true, (error) => {
      row.told = error === undefined ? offset : undefined;
      done(error);
    });
  }

  /** The last word about a queue that leaves: told with an answer, then forgotten. */
  leave(key: QueueKey, done: (error: unknown) => void): void {
    this.tell(key, (error) => {
      done(error);
    });
    this.#rows.delete(keyText(key));
  }

  /** Forgets that the broker was told anything: after a reconnect it may have lost one-way commits. */
  doubt(): void {
    for (const row of this.#rows.values()) row.told = undefined;
  }

  /** Everything with an answer, whether changed or not. */
  tellAll(done: () => void): void {
    let open = this.#rows.size;
    if (open === 0) return done();
    for (const row of [...this.#rows.values()]) {
      this.tell(row.key, () => {
        if (--open === 0) done();
      });
    }
  }
}
