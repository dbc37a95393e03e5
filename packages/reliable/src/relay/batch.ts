/**
 * Which claimed rows fly together, and in which waves. Where the transport does not keep the order of a key itself, messages of one key
 * leave one after the other, each after the confirmation of the one before, so the first that is not confirmed holds the rest back. Keys
 * of a batch are closed to other batches while it flies. Pure; the relay brings rows and outcomes.
 */
import type { OutgoingMessage } from '../transports/transport.ts';

/** States out of which a relay claims. */
export type ClaimedState = 'retrying' | 'delayed' | 'sent' | 'waiting';

export interface ClaimedRow {
  readonly sequence: number;
  readonly id: string;
  readonly shard: number;
  readonly key: string | null;
  readonly topic: string;
  readonly tag: string | null;
  readonly state: ClaimedState;
  readonly attempts: number;
  readonly tries: number;
  readonly dueAt: number;
  readonly bodyBytes: number;
  readonly createdAt: number;
  readonly type: string;
  readonly exchange: string | null;
  readonly exchangeType: string | null;
  readonly routingKey: string | null;
  /** 0: the broker's confirmation settles it. */
  readonly confirmWithin: number;
  readonly keepFor: number;
  /** How often the broker took it while its consumer's confirmation was missing. */
  readonly started: number;
  /** First shard and fencing epoch of the lease under which the row was read. */
  readonly range: number;
  readonly epoch: number;
  /** What will be pushed, when it came with the head. */
  readonly message: OutgoingMessage | undefined;
}

/** What is in the air: nothing of it may be taken again. */
export interface InFlight {
  readonly ids: Pick<ReadonlySet<string>, 'has'>;
  readonly keys: Pick<ReadonlySet<string>, 'has'>;
}

export class Batch {
  readonly rows: ClaimedRow[] = [];
  readonly #rowsMax: number;
  readonly #bytesMax: number;
  #bytes = 0;
  #full = false;

  constructor(rowsMax: number, bytesMax: number) {
    this.#rowsMax = rowsMax;
    this.#bytesMax = bytesMax;
  }

  /** As if nothing had been offered. */
  empty(): void {
    this.rows.length = 0;
    this.#bytes = 0;
    this.#full = false;
  }

  /** No further row will be taken. */
  get full(): boolean {
    return this.#full || this.rows.length >= this.#rowsMax;
  }

  /** Takes the row unless it or its key is in flight. A row too large for the rest of the batch closes it; as the first it is taken alone. */
  offer(row: ClaimedRow, flying: InFlight): boolean {
    if (this.full || flying.ids.has(row.id) || (row.key !== null && flying.keys.has(row.key))) return false;
    if (this.rows.length > 0 && this.#bytes + row.bodyBytes > this.#bytesMax) {
      this.#full = true;
      return false;
    }
    this.rows.push(row);
    this.#bytes += row.bodyBytes;
    return true;
  }
}

/** A batch in waves: no wave has two messages of a key, unless the transport keeps their order; then there is one wave. */
export class Waves {
  #next: ClaimedRow[];
  readonly #waiting = new Map<string, ClaimedRow[]>();

  constructor(rows: readonly ClaimedRow[], keepsOrder = false) {
    this.#next = keepsOrder ? [...rows] : [];
    if (!keepsOrder) for (const row of rows) this.#place(row);
  }

  #place(row: ClaimedRow): void {
    const behind = row.key === null ? undefined : this.#waiting.get(row.key);
    if (behind !== undefined) behind.push(row);
    else {
      this.#next.push(row);
      if (row.key !== null) this.#waiting.set(row.key, []);
    }
  }

  /** The next wave; empty when the batch is done. Its outcomes are told by {@link confirmed}; what is not told confirmed ends its key. */
  take(): ClaimedRow[] {
    const wave = this.#next;
    this.#next = [];
    return wave;
  }

  /** The row is confirmed: the next of its key may leave. */
  confirmed(row: ClaimedRow): void {
    const following = row.key === null ? undefined : this.#waiting.get(row.key)?.shift();
    if (following !== undefined) this.#next.push(following);
  }
}
