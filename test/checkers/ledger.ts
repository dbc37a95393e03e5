/**
 * What was asked, what was answered, and what was seen: the history of one run, and the rules that no history may break. It knows
 * nothing of the broker's inside; simulation and real processes write the same ledger.
 *
 *   intent     a message is invoked, then confirmed (with queue and offset), rejected (certainly not stored) or unknown
 *   half       also has a truth: undecided until its local transaction ends, then commit or rollback; `contested` ones are told
 *              both verdicts on purpose, and the first confirmed one is the truth
 *   seen       (topic, queue, offset) showed this message to some reader
 *
 * A rule that can be checked when something is seen is checked at once, the others by `settle` over a full read at the end.
 */
export type Truth = 'undecided' | 'commit' | 'rollback' | 'contested';
export type Answer = 'invoked' | 'confirmed' | 'rejected' | 'unknown';

/** One message that somebody tried to send. */
export interface Intent {
  readonly id: string;
  readonly topic: string;
  readonly crc: number;
  readonly invokedAtMs: number;
  readonly half: boolean;
  answer: Answer;
  answeredAtMs: number;
  queueId: number;
  /** -1 while unknown; of a half, the offset is not told. */
  offset: number;
  /** Log position from the message id; -1 while unknown. */
  position: number;
  truth: Truth;
  /** Promised to survive a power cut even on an async broker. */
  synced: boolean;
  /** Verdict that a two-way END confirmed. */
  confirmedVerdict: 'commit' | 'rollback' | undefined;
  /** Sends of this intent beyond the first that may have reached the broker (frames duplicated on the way). */
  duplicates: number;
  /** Lost with the unsynced suffix of an async broker in a power cut: allowed, and noted when found. */
  lostInCut: boolean;
}

/** What a reader found at one place. */
export interface Sight {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  readonly id: string;
  readonly crc: number;
}

/** A full read of one queue: everything from `minOffset` to `maxOffset` (exclusive). */
export interface QueueRead {
  readonly topic: string;
  readonly queueId: number;
  readonly minOffset: number;
  readonly maxOffset: number;
  readonly records: readonly Sight[];
}

export interface Violation {
  readonly invariant: string;
  readonly detail: string;
}

export class Ledger {
  readonly intents = new Map<string, Intent>();
  readonly violations: Violation[] = [];
  readonly #places = new Map<string, { id: string; crc: number }>();
  /** Places whose message some reader was shown. */
  readonly #shown = new Set<string>();
  readonly #offsetsRead = new Map<string, number>();
  /** group → message id → times its handler succeeded. */
  readonly #consumed = new Map<string, Map<string, number>>();

  invoke(id: string, topic: string, crc: number, atMs: number, half: boolean): Intent {
    const intent: Intent = {
      id,
      topic,
      crc,
      invokedAtMs: atMs,
      half,
      answer: 'invoked',
      answeredAtMs: Infinity,
      queueId: -1,
      offset: -1,
      position: -1,
      truth: half ? 'undecided' : 'commit',
      synced: half,
      confirmedVerdict: undefined,
      duplicates: 0,
      lostInCut: false,
    };
    this.intents.set(id, intent);
    return intent;
  }

  confirm(intent: Intent, atMs: number, queueId: number, offset: number, position: number): void {
    Object.assign(intent, { answer: 'confirmed', answeredAtMs: atMs, queueId, offset: intent.half ? -1 : offset, position });
    if (!intent.half) this.#place({ topic: intent.topic, queueId, offset, id: intent.id, crc: intent.crc }, 'the confirmation');
  }

  answer(intent: Intent, answer: 'rejected' | 'unknown', atMs: number): void {
    intent.answer = answer;
    intent.answeredAtMs = atMs;
  }

  /** The local transaction of a half has ended. */
  decide(intent: Intent, truth: 'commit' | 'rollback' | 'contested'): void {
    if (intent.truth === 'undecided') intent.truth = truth;
  }

  /** A two-way END was answered with success. */
  verdictConfirmed(intent: Intent, verdict: 'commit' | 'rollback'): void {
    if (intent.confirmedVerdict !== undefined && intent.confirmedVerdict !== verdict) {
      this.violate('first-verdict-wins', `half ${intent.id}: ${verdict} confirmed after ${intent.confirmedVerdict} was`);
    }
    intent.confirmedVerdict = verdict;
  }

  /** A reader was shown a message of an ordinary topic. */
  saw(sight: Sight, reader: string): void {
    const where = `${sight.topic}/${sight.queueId}@${sight.offset} shown to ${reader}`;
    const intent = this.intents.get(sight.id);
    if (intent === undefined) return this.violate('no-phantom', `${where}: nobody sent ${sight.id}`);
    if (intent.topic !== sight.topic) this.violate('no-phantom', `${where}: ${sight.id} was sent to ${intent.topic}`);
    if (intent.crc !== sight.crc) this.violate('no-phantom', `${where}: bytes of ${sight.id} differ`);
    if (intent.answer === 'rejected') this.violate('rejected-stays-out', `${where}: ${sight.id} was rejected`);
    if (intent.half) this.#sawHalf(intent, where);
    this.#shown.add(`${queueKey(sight.topic, sight.queueId)}@${sight.offset}`);
    this.#place(sight, reader);
  }

  /** `group` was told by the broker that it has consumed up to `offset`. */
  offsetRead(group: string, topic: string, queueId: number, offset: number, maxOffset: number): void {
    const key = `${group}@${topic}/${queueId}`;
    const before = this.#offsetsRead.get(key) ?? -1;
    if (offset < before) this.violate('offsets-never-go-back', `${key}: ${offset} after ${before}`);
    if (maxOffset >= 0 && offset > maxOffset) this.violate('offsets-within-log', `${key}: ${offset} beyond the end ${maxOffset}`);
    this.#offsetsRead.set(key, Math.max(before, offset));
  }

  /** A handler of `group` finished with success, or the message became a dead letter of that group. */
  consumed(group: string, id: string): void {
    let ids = this.#consumed.get(group);
    if (ids === undefined) this.#consumed.set(group, (ids = new Map<string, number>()));
    ids.set(id, (ids.get(id) ?? 0) + 1);
  }

  timesConsumed(group: string, id: string): number {
    return this.#consumed.get(group)?.get(id) ?? 0;
  }

  /**
   * An async broker came back from a power cut at `cutAtMs` with these queue ends. What was confirmed before `safeBeforeMs` must be
   * below them; what lies above is gone for good, and its places are free again.
   */
  afterPowerCut(ends: ReadonlyMap<string, number>, safeBeforeMs: number): number {
    return this.#afterLoss(ends, safeBeforeMs);
  }

  /** The same for a broker with a transient store pool whose process was killed: it may cost as little, and nothing that was shown. */
  afterKill(ends: ReadonlyMap<string, number>, safeBeforeMs: number): number {
    for (const key of this.#shown) {
      const slash = key.lastIndexOf('@');
      if (Number(key.slice(slash + 1)) >= (ends.get(key.slice(0, slash)) ?? 0))
        this.violate('shown-survives-a-kill', `${key} was shown to a reader and is gone`);
    }
    return this.#afterLoss(ends, safeBeforeMs);
  }

  #afterLoss(ends: ReadonlyMap<string, number>, safeBeforeMs: number): number {
    let lost = 0;
    let lowestLost = Infinity;
    for (const intent of this.intents.values()) {
      if (intent.offset < 0 || intent.lostInCut) continue;
      if (intent.offset < (ends.get(queueKey(intent.topic, intent.queueId)) ?? 0)) continue;
      intent.lostInCut = true;
      lost++;
      if (intent.position >= 0) lowestLost = Math.min(lowestLost, intent.position);
      if (intent.synced || intent.answeredAtMs < safeBeforeMs) {
        this.violate(
          'async-loses-only-the-newest',
          `${intent.id} was confirmed at ${intent.answeredAtMs} ms and is gone; ${intent.synced ? 'it was synced' : `all before ${safeBeforeMs} ms was promised`}`,
        );
      }
    }
    for (const intent of this.intents.values()) {
      if (intent.offset >= 0 && !intent.lostInCut && intent.position > lowestLost) {
        this.violate(
          'async-loses-a-suffix',
          `${intent.id} at position ${intent.position} survived, position ${lowestLost} did not`,
        );
      }
    }
    for (const [key] of this.#places) {
      const slash = key.lastIndexOf('@');
      if (Number(key.slice(slash + 1)) < (ends.get(key.slice(0, slash)) ?? 0)) continue;
      this.#places.delete(key);
      this.#shown.delete(key);
    }
    return lost;
  }

  /** The rules over everything that can be read when all is quiet. */
  settle(reads: readonly QueueRead[]): void {
    const copies = new Map<string, number>();
    const byPlace = new Map<string, Sight>();
    for (const read of reads) this.#settleQueue(read, copies, byPlace);
    for (const [place, { id }] of this.#places) {
      const found = byPlace.get(place);
      if (found === undefined && this.#isBelowMin(place, reads)) continue;
      if (found?.id !== id)
        this.violate('shown-is-durable', `${place} held ${id} and now ${found === undefined ? 'nothing' : found.id}`);
    }
    const minOffsets = new Map(reads.map((read) => [queueKey(read.topic, read.queueId), read.minOffset]));
    for (const intent of this.intents.values()) this.#settleIntent(intent, copies.get(intent.id) ?? 0, minOffsets);
    for (const read of reads) this.#settleOrder(read);
  }

  /** Every message that can be read has been consumed by `group`. */
  settleConsumption(group: string, reads: readonly QueueRead[]): void {
    const ids = this.#consumed.get(group);
    for (const read of reads) {
      for (const { id, offset } of read.records) {
        if (ids?.has(id) !== true)
          this.violate('consumed-by-every-group', `${group} never finished ${id} of ${read.topic}/${read.queueId}@${offset}`);
      }
    }
  }

  /** Of messages that were appended as one atom, all are there or none; only told while nothing was deleted. */
  settleGroups(groups: readonly (readonly string[])[], reads: readonly QueueRead[]): void {
    const found = new Set(reads.flatMap((read) => read.records.map(({ id }) => id)));
    if (reads.some((read) => read.minOffset > 0)) return;
    for (const ids of groups) {
      const there = ids.filter((id) => found.has(id)).length;
      if (there !== 0 && there !== ids.length)
        this.violate('groups-are-atoms', `${there} of ${ids.length} messages of one group: ${ids.join(', ')}`);
    }
  }

  violate(invariant: string, detail: string): void {
    this.violations.push({ invariant, detail });
  }

  #sawHalf(intent: Intent, where: string): void {
    if (intent.confirmedVerdict === 'rollback')
      this.violate('rolled-back-stays-out', `${where}: rollback of ${intent.id} was confirmed`);
    if (intent.truth === 'rollback') this.violate('rolled-back-stays-out', `${where}: ${intent.id} was rolled back`);
    if (intent.truth === 'undecided') this.violate('half-is-invisible', `${where}: ${intent.id} is still undecided`);
  }

  #place(sight: Sight, source: string): void {
    const key = `${queueKey(sight.topic, sight.queueId)}@${sight.offset}`;
    const before = this.#places.get(key);
    if (before === undefined) this.#places.set(key, { id: sight.id, crc: sight.crc });
    else if (before.id !== sight.id)
      this.violate('offset-names-one-message', `${key} was ${before.id}, now ${sight.id} (${source})`);
  }

  #settleQueue(read: QueueRead, copies: Map<string, number>, byPlace: Map<string, Sight>): void {
    const key = queueKey(read.topic, read.queueId);
    let expected = read.minOffset;
    for (const record of read.records) {
      if (record.offset !== expected) this.violate('dense-offsets', `${key}: ${record.offset} where ${expected} was due`);
      expected = record.offset + 1;
      copies.set(record.id, (copies.get(record.id) ?? 0) + 1);
      byPlace.set(`${key}@${record.offset}`, record);
      this.saw(record, 'the final read');
    }
    if (expected !== read.maxOffset)
      this.violate('dense-offsets', `${key}: reading ended at ${expected}, the broker says ${read.maxOffset}`);
  }

  #isBelowMin(place: string, reads: readonly QueueRead[]): boolean {
    const read = reads.find(({ topic, queueId }) => place.startsWith(`${queueKey(topic, queueId)}@`));
    return read !== undefined && Number(place.slice(place.lastIndexOf('@') + 1)) < read.minOffset;
  }

  #settleIntent(intent: Intent, copies: number, minOffsets: ReadonlyMap<string, number>): void {
    const { id } = intent;
    if (intent.half)
      return this.#settleHalf(
        intent,
        copies,
        [...minOffsets.values()].some((min) => min > 0),
      );
    const retired = intent.offset < (minOffsets.get(queueKey(intent.topic, intent.queueId)) ?? 0);
    if (intent.answer === 'confirmed' && copies === 0 && !intent.lostInCut && !retired)
      this.violate('nothing-acked-is-lost', `${id} was confirmed at ${queueKey(intent.topic, intent.queueId)}@${intent.offset}`);
    if (copies > 1 + intent.duplicates) this.violate('stored-once', `${copies} copies of ${id}`);
  }

  #settleHalf(intent: Intent, copies: number, someRetired: boolean): void {
    const { id } = intent;
    if (copies > 1) this.violate('one-visible-copy', `${copies} copies of half ${id}`);
    const mustShow = intent.confirmedVerdict === 'commit' || (intent.truth === 'commit' && intent.answer === 'confirmed');
    if (mustShow && copies === 0 && !someRetired)
      this.violate(
        'committed-is-visible',
        `half ${id} was committed${intent.confirmedVerdict === undefined ? '' : ' (confirmed)'}`,
      );
    if (intent.confirmedVerdict === 'rollback' && copies > 0)
      this.violate('rolled-back-stays-out', `rollback of half ${id} was confirmed`);
  }

  /** A was answered before B was invoked: A's offset is the lower one, unless A was lost in a power cut and a repeat of it was stored since. */
  #settleOrder(read: QueueRead): void {
    let earliestMs = Infinity;
    let earliest = '';
    for (let at = read.records.length - 1; at >= 0; at--) {
      const { id } = read.records[at] as Sight;
      const intent = this.intents.get(id);
      if (intent === undefined || intent.half || intent.duplicates > 0) continue;
      if (earliestMs < intent.invokedAtMs)
        this.violate(
          'per-queue-order',
          `${read.topic}/${read.queueId}: ${earliest} was confirmed before ${id} was sent, and lies behind it`,
        );
      if (intent.answer === 'confirmed' && !intent.lostInCut && intent.answeredAtMs < earliestMs) {
        earliestMs = intent.answeredAtMs;
        earliest = id;
      }
    }
  }
}

export function queueKey(topic: string, queueId: number): string {
  return `${topic}/${queueId}`;
}
