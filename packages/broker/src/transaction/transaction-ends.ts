import type { Timer, Timers } from '@tallystick/base';
import { ResponseCode, SysFlag, type Peer, type ReplyRef } from '@tallystick/remoting';
import { connectionOf, Hold } from '../connection.ts';
import type { Counters } from '../counters.ts';
import { CONTROL_VERSION } from '../journal.ts';
import { PropertyScan, Slot } from '../property-scan.ts';
import { AppendMessage } from '../store/append-message.ts';
import { ControlType } from '../store/control-records.ts';
import type { QueueRef } from '../store/queue-ref.ts';
import { RecentRecord } from '../store/recent-record.ts';
import { RecordView } from '../store/record-view.ts';
import { sinkOf, type AppendOutcome, type AppendSink } from '../store/store-types.ts';
import type { Store } from '../store/store.ts';
import { HALF_TOPIC } from '../topics/system-topics.ts';
import type { TopicTable } from '../topics/topic-table.ts';
import { topicConfig } from '../topics/topic.ts';
import { rollbackBody } from './half-records.ts';
import type { HalfState } from './half-state.ts';
import { RealPlace } from './real-place.ts';
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
  readonly #retries: Waiter[] = [];
  readonly #paused = new Set<Peer>();
  readonly #m = new AppendMessage();
  readonly #recent = new RecentRecord();
  readonly #place = new RealPlace();
  readonly #view = new RecordView();
  readonly #scan = new PropertyScan();
  #halfQueue: QueueRef | undefined;
  #reading = 0;
  /** Decisions that are appended and not yet durable, and repeats that wait for them. */
  #undurable = 0;
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
    this.#m.mayUseReserve = true;
  }

  /** Confirmations that are not finished. */
  get unfinished(): number {
    return this.#reading + this.#retries.length + this.#undurable;
  }

  /** More are better left in their lane for now. */
  get isFull(): boolean {
    return this.unfinished >= this.#laneMax;
  }

  /**
   * The usual case: nobody waits for an answer, the verdict fits an open half in every point, and the half is still in RAM. Makes no
   * object. False: nothing has happened, and the verdict has to be submitted.
   */
  settle(outcome: EndClaim['outcome'], offset: number, position: number, peer: Peer): boolean {
    const isTaken =
      outcome === 'committed'
        ? this.#commitRecent(offset, position)
        : this.#appendRollback(offset, position, this, ROLLBACK_TOKEN);
    if (isTaken) this.#holdWhenFull(peer);
    return isTaken;
  }

  /** Takes any commit or rollback; answers it later if `ref` is given. */
  submit(claim: EndClaim, peer: Peer, ref: ReplyRef | undefined): void {
    this.#settle({ claim, peer, ref });
    this.#holdWhenFull(peer);
  }

  #holdWhenFull(peer: Peer): void {
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
    if (claim.outcome === 'rolled-back')
      return void this.#appendRollback(claim.offset, claim.position, this.#answering(waiter), ROLLBACK_TOKEN);
    this.#reading++;
    this.#store.readRecord(
      claim.position,
      (error, bytes) => {
        this.#reading--;
        if (error !== undefined) this.#refuse(waiter, `Find prepared transaction message failed: ${error}`);
        // The read may have taken time, and the other answer may have come in it.
        else if (this.#halves.table.isSettled(claim.offset)) this.#settle(waiter);
        else this.#commitRead(waiter, bytes);
        this.#relax();
      },
      true,
    );
  }
  #commitRecent(offset: number, position: number): boolean {
    const half = this.#recent;
    this.#halfQueue ??= this.#store.queue(HALF_TOPIC, 0);
    if (!this.#store.recentRecord(this.#halfQueue, offset, position, half)) return false;
    if (!this.#setMessage(half.bytes, half.at, half.end)) return false;
    this.#m.tagsCode = half.tagsCode;
    return this.#appendCommit(offset, position, this, COMMIT_TOKEN);
  }

  #commitRead(waiter: Waiter, bytes: Buffer): void {
    const { offset, position } = waiter.claim;
    if (!this.#setMessage(bytes, 0, bytes.length)) return this.#again(waiter);
    const m = this.#m;
    m.tagsCode = this.#scan.run(bytes, m.propertiesStart, m.propertiesEnd).hash(Slot.TAGS);
    this.#appendCommit(offset, position, this.#answering(waiter), COMMIT_TOKEN);
  }

  /** Makes the message that the half's record in bytes [at, end) becomes; false when its topic is missing and cannot be made now. */
  #setMessage(bytes: Buffer, at: number, end: number): boolean {
    const m = this.#m.setFromRecord(bytes, at, end);
    const place = this.#place;
    place.read(bytes, m.propertiesStart, m.propertiesEnd);
    const { topic: name, queueId } = place;
    const topic = this.#topics.get(name) ?? this.#topics.put(topicConfig(name, queueId + 1));
    if (topic === undefined) return false;
    m.queue = topic.queues[queueId] ??= this.#store.queue(name, queueId);
    m.sysFlag = (m.sysFlag & ~SysFlag.TRANSACTION_MASK) | SysFlag.COMMIT;
    return true;
  }

  /** False when the store takes nothing now; the sink has heard. */
  #appendCommit(offset: number, position: number, sink: AppendSink, token: number): boolean {
    const m = this.#m;
    m.preparedTransactionOffset = position;
    this.#halves.committing = offset;
    try {
      return this.#decided(offset, this.#store.append(m, 'synced', sink, token) ? m.position : -1);
    } finally {
      this.#halves.committing = -1;
    }
  }

  #appendRollback(offset: number, position: number, sink: AppendSink, token: number): boolean {
    const body = rollbackBody(position, offset);
    return this.#decided(offset, this.#store.appendControl(ControlType.ROLLBACK, CONTROL_VERSION, body, 'synced', sink, token));
  }

  #decided(offset: number, position: number): boolean {
    if (position < 0) return false;
    this.#halves.table.decided(offset, position);
    this.#undurable++;
    return true;
  }

  /** The store's word on a decision. One that was refused is no decision. */
  appended(token: number, outcome: AppendOutcome, position: number): void {
    if (position < 0) return;
    this.#undurable--;
    if (outcome === 'ok') {
      if (token === COMMIT_TOKEN) this.#counters.commits++;
      else this.#counters.rollbacks++;
    }
    this.#relax();
  }

  /** Hears of a decision for one who may wait for the answer. */
  #answering(waiter: Waiter): AppendSink {
    return {
      appended: (token, outcome, position) => {
        if (outcome === 'busy' || outcome === 'full') return this.#again(waiter);
        this.#finish(waiter, outcome);
        this.appended(token, outcome, position);
      },
    };
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
        else this.#whenDurable(waiter, same ? undefined : `The transaction has already been decided otherwise: ${decided}`);
        this.#relax();
      },
      true,
    );
  }

  /**
   * The decision is somewhere before the latest one on the halves of its page; where is not known any more. A refusal waits like a
   * success: who takes another's verdict for a fact must still find it after a power cut.
   */
  #whenDurable(waiter: Waiter, refusal: string | undefined): void {
    const decidedAt = this.#halves.table.decidedAt(waiter.claim.offset);
    this.#undurable++;
    const sink = sinkOf((outcome) => {
      this.#undurable--;
      this.#finish(waiter, outcome, refusal);
      this.#relax();
    });
    this.#store.whenKept(decidedAt, -1, 'synced', sink, 0);
  }

  /** Holds a repeated claim against the half record itself: the table has forgotten its facts. */
  #recordFault(claim: EndClaim, bytes: Buffer): string | undefined {
    const half = this.#view.move(bytes, 0, bytes.length, claim.position);
    if (half.topic() !== this.#topics.half.name) return 'Find prepared transaction message failed';
    const scan = this.#scan.run(bytes, half.propertiesStart, half.propertiesEnd);
    return claimFault(claim, scan.text(Slot.PRODUCER_GROUP), half.queueOffset, claim.position, scan.text(Slot.UNIQUE_KEY));
  }

  #finish({ peer, ref }: Waiter, outcome: AppendOutcome, refusal?: string): void {
    if (ref === undefined) return;
    if (outcome === 'ok' && refusal !== undefined) peer.answer(ref, ResponseCode.SYSTEM_ERROR, refusal);
    else if (outcome === 'ok') peer.answer(ref, ResponseCode.SUCCESS);
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

const COMMIT_TOKEN = 0;
const ROLLBACK_TOKEN = 1;
const RETRY_MS = 20;
