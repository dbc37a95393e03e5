/**
 * Retries: the compensation that belongs to the consumer. Messages that failed lie in the inbox's own table; this looks for those that
 * are due, under shard leases so that processes share the work, and tries them again. The sender and the broker have no part in it.
 *
 * States: `new` → start() → `running` → stop() → `stopping` (handlers at work are waited for) → `stopped` (leases given back).
 *
 * An attempt is written down before it begins (`started`) and after it ended (`tries`). A difference that nobody is at work on any more is
 * an attempt that took its process with it. What is under that suspicion is tried alone, so that only the guilty collect more, and at
 * `deathsMax` it is quarantined. Found out after about a lease:
 *
 * ```
 * begun                     nobody looks at it for a lease; for longer where its lock is waited for
 * at work                   its transaction holds the row, however long
 * rolled back just now      its end is not written: another begins only if that stays so, and quarantine looks again some seconds after
 *                           its process has given up whatever it waits for (databaseAfterMs)
 * overtaken nevertheless    its process had no connection for so long: it counts as ended once it has; or, where the attempt that overtook it
 *                           holds the row by then, once that one has, and as another death if that one's process dies
 * ```
 */
import { backoffMs, type Turn } from '@tallystick/base';
import { fail } from '../errors.ts';
import type { InboxOptions } from '../options.ts';
import { LeaseKeeper } from '../relay/lease-keeper.ts';
import { holderName } from '../relay/leases.ts';
import { Looks } from '../looks.ts';
import { comesBack, pause } from '../waits.ts';
import type { Delivery } from '../transports/transport.ts';
import { attemptAt, type AttemptPorts } from './attempt.ts';
import { Elsewhere } from './elsewhere.ts';
import { failureOf, quarantined, refused, type Failure, type Tried } from './failure.ts';
import { forgetOld } from './forgetting.ts';
import { DueRows } from './due-rows.ts';
import type { Gate } from './gate.ts';
import type { Handlers, Rule } from './handlers.ts';
import type { TroubledMessage } from './inbox-alarm.ts';
import type { InboxTable } from './inbox-table.ts';
import type { KeptRow } from './kept.ts';

/** Since the inbox was made. */
export interface InboxCounters {
  /** Effects committed, at first delivery or later. */
  handled: number;
  /** Deliveries whose effect was there already. */
  duplicates: number;
  /** Attempts that failed. */
  failed: number;
  dead: number;
  /** Keys forgotten. */
  forgotten: number;
  /** Confirmations that a sender asked for and this inbox could not give. */
  unconfirmed: number;
}

export interface RetryPorts<Tx> extends AttemptPorts<Tx> {
  readonly table: InboxTable<Tx>;
  readonly handlers: Handlers<Tx>;
  readonly gate: Gate;
  readonly options: InboxOptions;
  readonly turn: Turn;
  readonly counters: InboxCounters;
}

export class Retries<Tx> {
  /** Its name in the lease table. */
  readonly owner: string;
  readonly #ports: RetryPorts<Tx>;
  readonly #scope: string;
  readonly #leases: LeaseKeeper;
  readonly #due: DueRows<Tx>;

  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #sayStopping = (): void => undefined;
  /** Resolves when it is to stop. */
  readonly #stopping = new Promise<void>((resolve) => (this.#sayStopping = resolve));
  /** Messages that are being tried, or are about to be. */
  readonly #inHand = new Map<string, Promise<void>>();
  readonly #elsewhere: Elsewhere;
  readonly #looks: Looks;
  /** The last look had read much before it had enough. */
  #unfinished = false;
  #forgetAtMs = 0;
  #failures = 0;
  #told = false;
  #pausedUntilMs = 0;

  constructor(ports: RetryPorts<Tx>) {
    this.#ports = ports;
    const { consumer, owner, leaseMs, rangesMax } = ports.options;
    const { random } = ports;
    this.owner = holderName(owner === '' ? 'inbox' : owner, random);
    this.#scope = consumer === '' ? 'tallystick_inbox' : `tallystick_inbox:${consumer}`;
    this.#elsewhere = new Elsewhere(ports.options.sweepIntervalMs);
    const { turn, timers } = ports;
    this.#looks = new Looks({ turn, timers, running: () => this.#state === 'running', look: () => this.#look() });
    const identity = { scope: this.#scope, owner: this.owner, leaseMs };
    this.#due = new DueRows(ports.table, identity);
    this.#leases = new LeaseKeeper(ports.database, identity, rangesMax, ports.clock, (alarm) => {
      if (alarm.kind === 'fenced') ports.tell(alarm);
    });
  }

  get state(): 'new' | 'running' | 'stopping' | 'stopped' {
    return this.#state;
  }

  /** Throws INBOX_STATE when it was started before. */
  start(): void {
    if (this.#state !== 'new') throw fail('INBOX_STATE', `start() while ${this.#state}`);
    this.#state = 'running';
    this.#looks.soon();
  }

  wake(): void {
    if (this.#state === 'running') this.#looks.soon();
  }

  /** Tries all that is due now; needs no start(). Returns how many effects were committed meanwhile. */
  async drain(): Promise<number> {
    if (!this.#active) throw fail('INBOX_STATE', `drain() while ${this.#state}`);
    const before = this.#ports.counters.handled;
    while ((await this.#looks.now()) > 0 || this.#inHand.size > 0) await Promise.all(this.#inHand.values());
    return this.#ports.counters.handled - before;
  }

  stop(): Promise<void> {
    return this.#stop();
  }

  async #stop(): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopping';
    this.#sayStopping();
    await this.#looks.end();
    const ended = await comesBack(Promise.all(this.#inHand.values()), this.#ports.options.stopAfterMs, this.#ports.timers);
    if (ended) await this.#leases.release();
    this.#state = 'stopped';
  }

  get #active(): boolean {
    return this.#state === 'new' || this.#state === 'running';
  }

  /** Tries a message that has just been taken in; harmless when another look does the same. */
  async tryNow(row: KeptRow): Promise<void> {
    await (this.#inHand.get(row.id) ?? this.#takeInHand(row));
  }

  #takeInHand(row: KeptRow): Promise<void> {
    const work = this.#tryAgain(row)
      .catch((error: unknown) => {
        this.#due.restart();
        this.refused(error);
      })
      .then(() => {
        this.#inHand.delete(row.id);
        this.wake();
      });
    this.#inHand.set(row.id, work);
    return work;
  }

  async #tryAgain(row: KeptRow): Promise<void> {
    const { gate, handlers, options, timers } = this.#ports;
    const deaths = row.started - row.tries;
    if (deaths === 0) return gate.shared(() => this.#attempt(row));
    if (!(await this.#seemsDead(row))) return;
    if (deaths < handlers.of(row.type).options.deathsMax) return gate.alone(() => this.#attempt(row));
    const unwrittenMs = options.databaseAfterMs + Math.min(END_WRITTEN_MS, options.leaseMs);
    if (await comesBack(this.#stopping, unwrittenMs, timers)) return;
    if (this.#active && (await this.#seemsDead(row))) await this.#giveUp(row, quarantined(row, deaths));
  }

  /** An attempt began and has not ended. Whether nobody is at work on it; who is, is left alone. */
  async #seemsDead(row: KeptRow): Promise<boolean> {
    const { table, options } = this.#ports;
    if (await table.suspect(row, options.leaseMs)) return true;
    this.#leave(row);
    return false;
  }

  /** Somebody is at work on it, or holds its row: other messages shall not wait for that. */
  #leave(row: KeptRow): void {
    const { handlers, clock, options, tell } = this.#ports;
    const { handlerTimeoutMs } = handlers.of(row.type).options;
    if (this.#elsewhere.leave(row, clock.monotonic(), handlerTimeoutMs + options.leaseMs)) {
      const reason = `an open transaction holds it for longer than its handler may take (${handlerTimeoutMs} ms)`;
      tell({ kind: 'hanging', id: row.id, reason: `${reason}; if that process is gone, end its session at the database` });
    }
  }

  async #attempt(row: KeptRow): Promise<void> {
    const { table, handlers, counters, random } = this.#ports;
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    const delivery = await table.delivery(row);
    if (delivery === undefined) return this.#giveUp(row, refused('unreadable', 'its body is missing from the body table'));
    const started = row.started + 1;
    const rule = handlers.of(row.type);
    // What an attempt that ended is not credited with would look like a death.
    const past = { attempts: row.attempts, tries: row.started };
    if (!(await this.#begin(row, rule, past))) return this.#leave(row);
    const attempt = {
      delivery,
      rule,
      attempts: row.attempts,
      mark: () => table.settle(row, started),
      last: () => table.letNextGo(row),
    };
    const result = await attemptAt(attempt, this.#ports);
    if (result.kind === 'handled') counters.handled++;
    if (result.kind === 'handled') return;
    if (result.kind === 'failed' && (await this.#ended(row, started, failureOf(past, result.error, rule.options, random.u32()))))
      return;
    await table.endedLate(row.id, started);
  }

  async #begin(row: KeptRow, { lock, options }: Rule<Tx>, past: Tried): Promise<boolean> {
    const { table, database, random } = this.#ports;
    const waitMs = lock === undefined ? 0 : options.lockWaitMs;
    try {
      return await table.begin(row, this.#ports.options.leaseMs + waitMs);
    } catch (error) {
      // It may be written all the same. An attempt that was begun, and never made, is no death.
      if (!database.isConflict(error))
        await this.#ended(row, row.started + 1, failureOf(past, error, options, random.u32(), 'unavailable'));
      throw error;
    }
  }

  async #giveUp(row: KeptRow, failure: Failure): Promise<void> {
    await this.#ended(row, row.started, failure);
  }

  /**
   * Writes the end of an attempt down, and goes on trying while the database refuses: unwritten it would count as a death. False: somebody has begun
   * since, or a person has decided.
   */
  async #ended(row: KeptRow, started: number, failure: Failure): Promise<boolean> {
    const { table, timers, random } = this.#ports;
    for (let failures = 1; ; failures++) {
      try {
        const written = await table.failed(row, started, failure);
        if (written) this.failed(row, failure);
        return written;
      } catch (error) {
        this.refused(error);
        if (!this.#active) return false;
        await pause(backoffMs(PAUSE, failures, random.u32()), timers);
      }
    }
  }

  /** A failure has been written down. */
  failed(message: Pick<Delivery, 'id' | 'topic' | 'type' | 'key'>, failure: Failure): void {
    const { counters, handlers, tell } = this.#ports;
    const { id, topic, type, key } = message;
    const { state, attempts, tries, outcome, reason } = failure;
    const row: TroubledMessage = { id, topic, type, key, attempts, tries, outcome, reason };
    counters.failed++;
    if (state === 'dead') {
      counters.dead++;
      tell({ kind: outcome === 'poison' ? 'poison' : 'dead', row });
    } else if (tries === handlers.of(type).options.stuckAfterTries) tell({ kind: 'stuck', row });
  }

  /** Answers how many attempts began, and one more while there is more to look at; never rejects. */
  async #look(): Promise<number> {
    let begun = 0;
    this.#unfinished = false;
    try {
      if (this.#active && this.#ports.clock.monotonic() >= this.#pausedUntilMs) {
        if (await this.#leases.keep()) this.#due.restart();
        begun = await this.#beginDue();
        await this.#forgetDue();
        this.worked();
      }
    } catch (error) {
      this.refused(error);
    }
    this.#schedule();
    return begun;
  }

  async #beginDue(): Promise<number> {
    const { options, clock } = this.#ports;
    const free = options.retriesAtOnce - this.#inHand.size;
    if (free <= 0 || this.#leases.held.size === 0) return 0;
    const nowMs = clock.monotonic();
    this.#elsewhere.forget(nowMs);
    const isInHand = (row: KeptRow): boolean => this.#inHand.has(row.id) || this.#elsewhere.has(row, nowMs);
    const { rows, unfinished, putOff } = await this.#due.take({ rowsMax: free, held: this.#leases.held, isInHand });
    for (const row of rows) void this.#takeInHand(row);
    this.#unfinished = unfinished;
    if (unfinished && putOff > 0) this.wake();
    return rows.length + (unfinished ? 1 : 0);
  }

  /** What is old goes in bounded steps; only one process at a time does it, the one that holds the first range. */
  async #forgetDue(): Promise<void> {
    const { clock, options } = this.#ports;
    if (clock.monotonic() < this.#forgetAtMs || !this.#leases.held.has(0)) return;
    if (await forgetOld(this.#ports)) return this.wake();
    this.#forgetAtMs = clock.monotonic() + options.forgetIntervalMs;
  }

  #schedule(): void {
    const { clock, options } = this.#ports;
    const now = clock.monotonic();
    const pauseMs = this.#pausedUntilMs - now;
    const nextMs = this.#unfinished ? Math.min(GO_ON_MS, options.sweepIntervalMs) : options.sweepIntervalMs;
    const lookMs = pauseMs > 0 ? pauseMs : nextMs;
    const renewMs = this.#leases.renewAtMs > now ? this.#leases.renewAtMs - now : lookMs;
    this.#looks.after(Math.min(lookMs, renewMs));
  }

  /** The database did what was asked. */
  worked(): void {
    this.#failures = 0;
    if (!this.#told) return;
    this.#told = false;
    this.#ports.tell({ kind: 'database-over' });
  }

  /** The database refused; an alarm only when that lasts, because a moment's lock is everyday life. */
  refused(error: unknown): void {
    const { clock, random, database, tell } = this.#ports;
    this.#failures++;
    this.#pausedUntilMs = clock.monotonic() + backoffMs(PAUSE, this.#failures, random.u32());
    if (this.#told || (database.isConflict(error) && this.#failures < CONFLICTS_BEFORE_ALARM)) return;
    this.#told = true;
    tell({ kind: 'database', error });
  }
}

/**
 * In which a process that lives has taken its message's row, or has written down how the attempt ended, after a connection or an answer that did
 * not come was given up (databaseAfterMs). Two such in a row are more than is waited for.
 */
const END_WRITTEN_MS = 5_000;
const PAUSE = { firstMs: 10, maxMs: 5_000 };
/** Between two looks that read much in vain: a backlog of other processes that is walked over costs the database a tenth of its time. */
const GO_ON_MS = 50;
const CONFLICTS_BEFORE_ALARM = 8;
