import type { Admission } from './admission.ts';

/** What the gate asks the store. */
export interface GatedStore {
  /** Written but not yet synced bytes. */
  readonly unsyncedBytes: number;
  /** How long the oldest append waits; 0 when none does. */
  oldestWaitMs(): number;
}

/**
 * Says whether the lane of sends may hand more to the store. Two limits:
 *
 * - bytes that are not synced (`unsyncedBytesMax`): what a power cut may cost, and what a sync has to carry;
 * - time: when the oldest append waits for `storeBacklogMs` the store is behind, and from then on it is given no more than it answers
 *   in that time at the speed it has shown (with `flush` sync; a disk whose every sync takes long is given more time, by the shortest
 *   wait it ever showed) or in {@link GIVEN_SHARE} of it (async). A confirmation lies behind those sends in the log and is answered after them. Bytes alone would let a slow disk collect
 *   so much that every answer comes after its client has given up: 64 MiB are 0.3 s of a quick disk and 12 s of one that takes 20,000
 *   small messages a second.
 *
 * What is not handed over waits in the lane, where it can still be refused for certain.
 */
export class StoreGate {
  readonly #store: GatedStore;
  readonly #admission: Admission;
  readonly #isSync: boolean;
  readonly #bytesMax: number;
  readonly #backlogMs: number;
  /** Of what the store answers in that time, what it is given. */
  readonly #share: number;
  #speed = Infinity;
  #windowMs = 0;
  #windowBytes = 0;
  #limit = Infinity;
  /** The longest wait seen since something was answered, and the shortest of those. */
  #longestMs = 0;
  #leastMs = 0;
  #learntBytes = 0;
  /** When the store was last seen to be behind. */
  #behindMs = -Infinity;

  constructor(
    store: GatedStore,
    admission: Admission,
    options: { readonly flush: 'sync' | 'async'; readonly unsyncedBytesMax: number; readonly storeBacklogMs: number },
  ) {
    this.#store = store;
    this.#admission = admission;
    this.#isSync = options.flush === 'sync';
    this.#bytesMax = options.unsyncedBytesMax;
    this.#backlogMs = options.storeBacklogMs;
    this.#share = this.#isSync ? 1 : GIVEN_SHARE;
  }

  /** Bytes per ms that the store has answered lately; Infinity before it was measured. */
  get speed(): number {
    return this.#speed;
  }

  /** A look at the end of a turn, which has lasted `turnMs`: time in which the store's answers lay unread, not the store's. */
  look(nowMs: number, turnMs: number): void {
    const { bytes, doneBytes } = this.#admission;
    const lastedMs = nowMs - this.#windowMs;
    // An idle store shows no speed.
    if (bytes === 0 || lastedMs >= 2 * WINDOW_MS) this.#begin(nowMs);
    else if (lastedMs >= WINDOW_MS) {
      const shown = (doneBytes - this.#windowBytes) / lastedMs;
      this.#speed = this.#speed === Infinity ? shown : (this.#speed + shown) / 2;
      this.#begin(nowMs);
    }
    // Before the first window is over, what it has shown so far has to do.
    const speed = this.#speed === Infinity && lastedMs > 0 ? (doneBytes - this.#windowBytes) / lastedMs : this.#speed;
    const waitedMs = bytes === 0 ? 0 : Math.max(0, this.#store.oldestWaitMs() - turnMs);
    this.#learn(waitedMs);
    // A disk whose every sync takes long is not behind for that.
    const fairMs = Math.min(Math.max(this.#backlogMs, 2.5 * this.#leastMs), Math.max(this.#backlogMs, FAIR_MS_MAX));
    const given = Math.max(BACKLOG_BYTES_MIN, speed * fairMs * this.#share);
    const isEased = waitedMs < fairMs || bytes < BACKLOG_BYTES_MIN;
    // Given less than what made it wait, a store that only writes waits less, and is no faster for it.
    if (!isEased || (!this.#isSync && nowMs - this.#behindMs < EASED_MS && waitedMs >= fairMs / 2)) this.#behindMs = nowMs;
    if (nowMs - this.#behindMs >= EASED_MS) this.#limit = Infinity;
    else this.#limit = this.#isSync && isEased ? 2 * given : given;
  }

  /** Bytes that may still be handed over; shut at 0 and below. */
  get room(): number {
    const { bytes } = this.#admission;
    const { unsyncedBytes } = this.#store;
    // A send that waits for its sync is among the unsynced bytes once it is written; otherwise it comes on top of them.
    const unsynced = this.#isSync ? Math.max(bytes, unsyncedBytes) : bytes + unsyncedBytes;
    return Math.min(this.#limit - bytes, this.#bytesMax - unsynced);
  }

  /** The shortest wait that the store has ever shown is what a sync takes whatever it carries. */
  #learn(waitedMs: number): void {
    const { doneBytes } = this.#admission;
    if (doneBytes !== this.#learntBytes) {
      if (this.#longestMs > 0) this.#leastMs = this.#leastMs === 0 ? this.#longestMs : Math.min(this.#leastMs, this.#longestMs);
      this.#learntBytes = doneBytes;
      this.#longestMs = 0;
    }
    this.#longestMs = Math.max(this.#longestMs, waitedMs);
  }

  #begin(nowMs: number): void {
    this.#windowMs = nowMs;
    this.#windowBytes = this.#admission.doneBytes;
  }
}

/**
 * For so long after it was behind the store is not given all there is: it would be behind again in one turn. One that syncs is given
 * twice as much meanwhile, for what it is given is also what it can sync at once.
 */
const EASED_MS = 500;
/**
 * Of what it answers in `storeBacklogMs` a store that only writes is given so much, because confirmations lie behind it in the log. With
 * all of it they took 97 ms (p99 153) on a disk of 20,000 messages a second, with this 58 (78), and the disk was as busy.
 */
const GIVEN_SHARE = 0.6;
/** A disk slower than this for every sync is behind all the same: clients wait 3 s in all. */
const FAIR_MS_MAX = 400;
/** Over one window a disk shows its speed although it syncs in steps. */
const WINDOW_MS = 250;
/**
 * So much any disk is given. One whose sync takes longer than `storeBacklogMs` whatever it carries would otherwise be given less and
 * less, and be no faster for it.
 */
const BACKLOG_BYTES_MIN = 128 * 1024;
