/**
 * The queue for a record that neither names one nor has a key: which one is next, and how long the choice stays with it.
 *
 *    sticky        until the batch that it joined is full or on its way: full batches under load, one after the other without
 *    uniform       until batchSizeBytes have gone to it and its batch is complete, at most twice as many (Kafka since 3.3): a slow
 *                  queue, whose batches grow, does not get more than its share
 *    round-robin   for one record
 *
 * The next one is the next in order as long as nothing speaks against it. Left out are queues of brokers to be avoided and queues whose
 * oldest batch has waited too long; the others are drawn by lot, with better odds for those with less in front of them (adaptive).
 * What waits is counted once per round of the sender: between rounds batches pile up everywhere and say nothing. If all would be left out,
 * none is.
 */
import { LoadTable } from './load-table.ts';
import type { PartitionerName } from './partitioner.ts';

export interface ChoiceBatch {
  readonly createdMs: number;
  readonly end: number;
}

/** What the choice looks at in a lane. */
export interface ChoiceLane {
  readonly brokerName: string;
  readonly batches: readonly ChoiceBatch[];
  readonly open: ChoiceBatch | undefined;
}

export interface ChoiceRules {
  readonly mode: PartitionerName;
  readonly adaptive: boolean;
  readonly batchSizeBytes: number;
  /** 0: however long a batch waits, its queue is not left out. */
  readonly availabilityTimeoutMs: number;
}

export interface ChoiceSurroundings {
  /** Counts the sender's rounds. */
  readonly round: number;
  readonly nowMs: number;
  /** Whether a broker is to be left out now. */
  isAvoided(brokerName: string): boolean;
  u32(): number;
}

export class QueueChoice<L extends ChoiceLane> {
  readonly #rules: ChoiceRules;
  readonly #around: ChoiceSurroundings;
  readonly #loads = new LoadTable();
  readonly #lengths: number[] = [];
  #loadsRound = -1;
  #looksRound = -1;
  #at: number;
  /** The batch that the last record joined, and the bytes given to the present queue. */
  #batch: ChoiceBatch | undefined;
  #givenBytes = 0;
  /** Where the choice came from with the last record, and the bytes given there; -1: it has stayed. */
  #from = -1;
  #fromGivenBytes = 0;

  constructor(rules: ChoiceRules, around: ChoiceSurroundings) {
    this.#rules = rules;
    this.#around = around;
    this.#at = around.u32();
  }

  /** The queue for the next record, which needs at most `bytes`; undefined when there is none. */
  next(lanes: readonly L[], bytes: number): L | undefined {
    const present = lanes[this.#at % lanes.length];
    if (present === undefined || this.#stays(present, bytes)) return present;
    this.#from = this.#at;
    this.#fromGivenBytes = this.#givenBytes;
    this.#givenBytes = 0;
    this.#at = this.#following(lanes);
    return lanes[this.#at];
  }

  /** The record whose queue was asked for last has been appended there and took `bytes`. */
  joined(lane: L, bytes: number): void {
    this.#batch = lane.open;
    this.#givenBytes += bytes;
    this.#from = -1;
  }

  /** The record whose queue was asked for last has not been appended: it used up nobody's turn. */
  notJoined(): void {
    if (this.#from < 0) return;
    this.#at = this.#from;
    this.#givenBytes = this.#fromGivenBytes;
    this.#from = -1;
  }

  /** Another queue than `lane`, on another broker, the best there is; undefined when there is no other broker. */
  elsewhere(lanes: readonly L[], lane: L): L | undefined {
    const others = lanes.filter((other) => other.brokerName !== lane.brokerName);
    const good = others.filter((other) => !this.#around.isAvoided(other.brokerName));
    const among = good.length > 0 ? good : others;
    this.#at = (this.#at + 1) >>> 0;
    return among[this.#at % among.length];
  }

  #stays(present: L, bytes: number): boolean {
    const { open } = present;
    const { batchSizeBytes } = this.#rules;
    // Once per round, because it is asked for every record.
    if (this.#looksRound !== this.#around.round) {
      this.#looksRound = this.#around.round;
      if (this.#around.isAvoided(present.brokerName)) return false;
    }
    switch (this.#rules.mode) {
      case 'sticky':
        return open !== undefined && open === this.#batch && open.end + bytes <= batchSizeBytes;
      case 'uniform':
        if (this.#givenBytes < batchSizeBytes) return true;
        if (this.#givenBytes >= 2 * batchSizeBytes) return false;
        return open !== undefined && open.end + bytes <= batchSizeBytes;
      case 'round-robin':
        return false;
    }
  }

  #following(lanes: readonly L[]): number {
    if (this.#loadsRound !== this.#around.round) this.#weigh(lanes);
    if (this.#loads.isEven || this.#lengths.length !== lanes.length) return (this.#at + 1) % lanes.length;
    if (this.#rules.mode !== 'round-robin') return this.#loads.choose(this.#around.u32());
    for (let step = 1; step < lanes.length; step++) {
      const at = (this.#at + step) % lanes.length;
      if (this.#lengths[at]! >= 0) return at;
    }
    return (this.#at + 1) % lanes.length;
  }

  #weigh(lanes: readonly L[]): void {
    const { adaptive, availabilityTimeoutMs, mode } = this.#rules;
    const lengths = this.#lengths;
    lengths.length = 0;
    for (const lane of lanes) {
      const oldest = lane.batches[0];
      const isStuck =
        availabilityTimeoutMs > 0 && oldest !== undefined && this.#around.nowMs - oldest.createdMs > availabilityTimeoutMs;
      const counts = adaptive && mode !== 'round-robin';
      lengths.push(isStuck || this.#around.isAvoided(lane.brokerName) ? -1 : counts ? lane.batches.length : 0);
    }
    this.#loads.fill(lengths);
    this.#loadsRound = this.#around.round;
  }
}
