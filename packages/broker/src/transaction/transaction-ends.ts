import type { Timer, Timers } from '@tallystick/base';
import { ResponseCode, SysFlag, type Peer, type ReplyRef } from '@tallystick/remoting';
import { connectionOf, Hold } from '../connection.ts';
import type { Counters } from '../counters.ts';
import { CONTROL_VERSION } from '../journal.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { AppendMessage } from '../store/append-message.ts';
import { ControlType } from '../store/control-records.ts';
import { RecordView } from '../store/record-view.ts';
import { sinkOf, type AppendOutcome, type AppendSink } from '../store/store-types.ts';
import type { Store } from '../store/store.ts';
import type { TopicTable } from '../topics/topic-table.ts';
import { topicConfig } from '../topics/topic.ts';
import { CheckCounts, rollbackBody } from './half-records.ts';
import type { HalfState } from './half-state.ts';
import { claimFault, judge, type EndClaim } from './verdict.ts';

/**
 * Carries out second confirmations. Committing is appending the final message, rolling back one control record; the first definite
 * answer that reaches the log wins, and the half table follows the log. Answers wait for the sync that covers the decision, also
 * those that only repeat it.
 *
 * Confirmations have a lane of their own: no admission, space from the reserve when the disk is full, another try when the store
 * is busy, and their reads overtake others. When too many are unfinished the lane stands and their connections are not read until
 * half are done; nothing is ever dropped.
 */
export class TransactionEnds implements AppendSink {
  readonly #store: Store;
  readonly #topics: TopicTable;
  readonly #halves: HalfState;
  readonly #counters: Counters;
  readonly #timers: Timers;
  readonly #laneMax: number;
  /** Decisions that are appended and not yet durable, by half offset, with those who wait for them. */
  readonly #settling = new Map<number, Settling>();
  /** Decisions whose sync did not come in time. */
  readonly #uncertain = new Set<number>();
  readonly #retries: Waiter[] = [];
  readonly #paused = new Set<Peer>();
  readonly #m = new AppendMessage();
  readonly #view = new RecordView();
  readonly #scan = new PropertyScan();
  #bornHost: Buffer = Buffer.alloc(0);
  #reading = 0;
  #timer: Timer | undefined;

  constructor(
    parts: {
      readonly store: Store;
      readonly topics: TopicTable;
      readonly halves: HalfState;
      readonly counters: Counters;
      readonly timers: Timers;
    },
    laneMax: number,
  ) {
    this.#store = parts.store;
    this.#topics = parts.topics;
    this.#halves = parts.halves;
    this.#counters = parts.counters;
    this.#timers = parts.timers;
    this.#laneMax = laneMax;
  }

  /** Confirmations that are not finished. */
  get unfinished(): number {
    return this.#reading + this.#retries.length + this.#settling.size;
  }

  /** More are better left in their lane for now. */
  get isFull(): boolean {
    return this.unfinished >= this.#laneMax;
  }

  /** Takes a commit or rollback; answers it later if `ref` is given. */
  submit(claim: EndClaim, peer: Peer, ref: ReplyRef | undefined): void {
    this.#settle({ claim, peer, ref });
    if (!this.isFull || this.#paused.has(peer)) return;
    this.#paused.add(peer);
    connectionOf(peer).hold(Hold.ENDS);
  }

  /** A connection has closed: its answers go nowhere, its confirmations still count. */
  leave(peer: Peer): void {
    this.#paused.delete(peer);
  }

  stop(): void {
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #settle(waiter: Waiter): void {
    const { claim } = waiter;
    const verdict = judge(this.#halves.table, claim);
    if (verdict.kind === 'wrong') return this.#refuse(waiter, verdict.text);
    if (verdict.kind !== 'apply') return this.#repeat(waiter, verdict.kind === 'same', verdict.decided ?? '');
    if (claim.outcome === 'rolled-back') return this.#rollBack(waiter);
    this.#reading++;
    this.#store.readRecord(
      claim.position,
      (error, bytes) => {
        this.#reading--;
        if (error !== undefined) this.#refuse(waiter, `Find prepared transaction message failed: ${error}`);
        // The read may have taken time, and the other answer may have come in it.
        else if (this.#halves.table.isSettled(claim.offset)) this.#settle(waiter);
        else this.#commit(waiter, bytes);
        this.#relax();
      },
      true,
    );
  }

  #rollBack(waiter: Waiter): void {
    const { offset, position } = waiter.claim;
    this.#begin(waiter);
    this.#store.appendControl(ControlType.ROLLBACK, CONTROL_VERSION, rollbackBody(position, offset), 'synced', this, offset);
  }

  #commit(waiter: Waiter, bytes: Buffer): void {
    const { offset, position } = waiter.claim;
    const half = this.#view.move(bytes, 0, bytes.length, position);
    const scan = this.#scan.run(bytes, half.propertiesStart, half.propertiesEnd);
    const name = scan.name(Slot.REAL_TOPIC);
    const queueId = Math.max(0, scan.number(Slot.REAL_QUEUE));
    const topic = this.#topics.get(name) ?? this.#topics.put(topicConfig(name, queueId + 1));
    if (topic === undefined) return this.#again(waiter);
    const m = this.#m;
    m.queue = topic.queues[queueId] ??= this.#store.queue(name, queueId);
    m.flag = half.flag;
    m.sysFlag = (half.sysFlag & ~SysFlag.TRANSACTION_MASK) | SysFlag.COMMIT;
    m.bornTimestamp = half.bornTimestamp;
    m.bornHost = this.#bornHostOf(half);
    m.reconsumeTimes = half.reconsumeTimes;
    m.preparedTransactionOffset = position;
    m.setBody(bytes, half.bodyStart, half.bodyEnd);
    m.bodyCrc = half.bodyCrc;
    m.setProperties(bytes, half.propertiesStart, half.propertiesEnd);
    m.tagsCode = scan.hash(Slot.TAGS);
    m.mayUseReserve = true;
    this.#begin(waiter);
    this.#halves.committing = offset;
    try {
      this.#store.append(m, 'synced', this, offset);
    } finally {
      this.#halves.committing = -1;
    }
  }

  /** Neighbours come from the same host: a copy is made when it changes. */
  #bornHostOf({ bytes, bornHostStart: start, bornHostEnd: end }: RecordView): Buffer {
    const known = this.#bornHost;
    let same = known.length === end - start;
    for (let n = 0; same && n < known.length; n++) same = known[n] === bytes[start + n];
    return same ? known : (this.#bornHost = Buffer.from(bytes.subarray(start, end)));
  }

  #begin(waiter: Waiter): void {
    this.#settling.set(waiter.claim.offset, { outcome: waiter.claim.outcome, first: waiter, repeats: undefined });
  }

  /** The store's word on a decision. */
  appended(offset: number, outcome: AppendOutcome): void {
    const settling = this.#settling.get(offset)!;
    this.#settling.delete(offset);
    if (outcome === 'busy' || outcome === 'full') return this.#again(settling.first);
    if (outcome === 'ok') {
      if (settling.outcome === 'committed') this.#counters.commits++;
      else this.#counters.rollbacks++;
    } else if (outcome === 'timeout') this.#uncertain.add(offset);
    this.#finish(settling.first, outcome);
    for (const waiter of settling.repeats ?? []) this.#finish(waiter, outcome);
    this.#relax();
  }

  /** An answer that comes after the decision. */
  #repeat(waiter: Waiter, same: boolean, decided: string): void {
    if (same) this.#counters.endsRepeated++;
    else this.#counters.endsRefused++;
    const { claim, peer, ref } = waiter;
    if (ref === undefined) return;
    this.#reading++;
    this.#store.readRecord(
      claim.position,
      (error, bytes) => {
        this.#reading--;
        const fault = error === undefined ? this.#recordFault(claim, bytes) : 'Find prepared transaction message failed';
        if (fault !== undefined) peer.answer(ref, ResponseCode.SYSTEM_ERROR, fault);
        else if (!same)
          peer.answer(ref, ResponseCode.SYSTEM_ERROR, `The transaction has already been decided otherwise: ${decided}`);
        else this.#whenDurable(waiter);
        this.#relax();
      },
      true,
    );
  }

  #whenDurable(waiter: Waiter): void {
    const { offset } = waiter.claim;
    const settling = this.#settling.get(offset);
    if (settling !== undefined) {
      (settling.repeats ??= []).push(waiter);
      return;
    }
    if (!this.#uncertain.has(offset)) return this.#finish(waiter, 'ok');
    // An empty record behind the decision: when it is synced, so is the decision.
    const sink = sinkOf((outcome) => {
      if (outcome === 'ok') this.#uncertain.delete(offset);
      this.#finish(waiter, outcome);
    });
    this.#store.appendControl(ControlType.CHECK_COUNTS, CONTROL_VERSION, new CheckCounts().body(), 'synced', sink, 0);
  }

  /** Holds a repeated claim against the half record itself: the table has forgotten its facts. */
  #recordFault(claim: EndClaim, bytes: Buffer): string | undefined {
    const half = this.#view.move(bytes, 0, bytes.length, claim.position);
    if (half.topic() !== this.#topics.half.name) return 'Find prepared transaction message failed';
    const scan = this.#scan.run(bytes, half.propertiesStart, half.propertiesEnd);
    return claimFault(claim, scan.text(Slot.PRODUCER_GROUP), half.queueOffset, claim.position, scan.text(Slot.UNIQUE_KEY));
  }

  #finish({ peer, ref }: Waiter, outcome: AppendOutcome): void {
    if (ref === undefined) return;
    if (outcome === 'ok') peer.answer(ref, ResponseCode.SUCCESS);
    else peer.answer(ref, ResponseCode.SYSTEM_ERROR, `the decision may not be durable: ${outcome}`);
  }

  #refuse({ peer, ref }: Waiter, text: string): void {
    this.#counters.endsRefused++;
    if (ref !== undefined) peer.answer(ref, ResponseCode.SYSTEM_ERROR, text);
  }

  /** Tries a confirmation once more in a while. */
  #again(waiter: Waiter): void {
    this.#retries.push(waiter);
    this.#timer ??= this.#timers.after(RETRY_MS, () => {
      this.#timer = undefined;
      for (const retry of this.#retries.splice(0)) this.#settle(retry);
      // Those that another answer has settled meanwhile end without a word of the store.
      this.#relax();
    });
  }

  /** Reads from paused connections again when the lane has emptied. */
  #relax(): void {
    if (this.#paused.size === 0 || this.unfinished > this.#laneMax / 2) return;
    for (const peer of [...this.#paused]) {
      this.#paused.delete(peer);
      connectionOf(peer).release(Hold.ENDS);
    }
  }
}

interface Waiter {
  readonly claim: EndClaim;
  readonly peer: Peer;
  readonly ref: ReplyRef | undefined;
}

interface Settling {
  readonly outcome: EndClaim['outcome'];
  readonly first: Waiter;
  repeats: Waiter[] | undefined;
}

const RETRY_MS = 20;
