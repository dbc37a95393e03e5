import type { Clock, Timer, Timers, Turn } from '@tallystick/base';
import type { Journal } from '../journal.ts';
import { ControlType } from '../store/control-records.ts';
import { CheckCounts, PARKED_COUNT } from './half-records.ts';
import type { HalfRow } from './half-row.ts';
import type { HalfTable } from './half-table.ts';

/** Who carries a question to a producer group. */
export interface HalfAsker {
  hasProducer(group: string): boolean;
  /** Asks about a half message, for the `times`-th time. `sent` is false when nobody could be asked or the half could not be read. */
  ask(row: HalfRow, times: number, done: (sent: boolean) => void): void;
}

/** What a round found; for counters and alarms. */
export interface CheckRound {
  readonly asked: number;
  readonly parked: number;
  /** Halves that wait because their group has no producer, and the age of the oldest. */
  readonly waiting: number;
  readonly oldestWaitingMs: number;
}

export interface CheckBackOptions {
  readonly checkAfterMs: number;
  readonly checkIntervalMs: number;
  readonly checkMax: number;
  readonly checksPerRoundMax: number;
}

/**
 * The sweep of the transaction part: asks producer groups about half messages that nobody has settled. Rounds start every
 * `checkIntervalMs`; each asks about every open half that is old enough, oldest first. Only questions that were sent count. After
 * `checkMax` of them the next round parks the half: it is asked about no more and is listed until a late answer or a person
 * settles it. The counts of a round are one control record; the halves themselves are never written again.
 */
export class CheckBack {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #turn: Turn;
  readonly #options: CheckBackOptions;
  readonly #table: HalfTable;
  readonly #asker: HalfAsker;
  readonly #journal: Journal;
  readonly #finished: (round: CheckRound) => void;
  #timer: Timer | undefined;
  #running = false;
  #stopped = true;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn },
    options: CheckBackOptions,
    table: HalfTable,
    asker: HalfAsker,
    journal: Journal,
    finished: (round: CheckRound) => void,
  ) {
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#turn = ports.turn;
    this.#options = options;
    this.#table = table;
    this.#asker = asker;
    this.#journal = journal;
    this.#finished = finished;
  }

  start(): void {
    this.#stopped = false;
    this.#arm(this.#options.checkIntervalMs);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#timers.after(ms, () => this.#round());
  }

  #round(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    const startedMs = this.#clock.monotonic();
    new Round(this.#turn, this.#options, this.#table, this.#asker, this.#clock.now(), (counts, round) => {
      this.#running = false;
      if (!this.#stopped) {
        if (!counts.isEmpty) this.#journal.control(ControlType.CHECK_COUNTS, counts.body(), 'flush', () => {});
        this.#finished(round);
      }
      this.#arm(Math.max(1, this.#options.checkIntervalMs - (this.#clock.monotonic() - startedMs)));
    }).step(0);
  }
}

/** One walk over the open halves. A few per turn, so that a million of them stall nobody. */
class Round {
  readonly #turn: Turn;
  readonly #options: CheckBackOptions;
  readonly #table: HalfTable;
  readonly #asker: HalfAsker;
  readonly #nowMs: number;
  readonly #done: (counts: CheckCounts, round: CheckRound) => void;
  readonly #counts = new CheckCounts();
  #asked = 0;
  #parked = 0;
  #waiting = 0;
  #oldestWaitingMs = 0;

  constructor(
    turn: Turn,
    options: CheckBackOptions,
    table: HalfTable,
    asker: HalfAsker,
    nowMs: number,
    done: (counts: CheckCounts, round: CheckRound) => void,
  ) {
    this.#turn = turn;
    this.#options = options;
    this.#table = table;
    this.#asker = asker;
    this.#nowMs = nowMs;
    this.#done = done;
  }

  step(from: number): void {
    let offset = from;
    let asked = 0;
    for (let looked = 0; looked < HALVES_PER_TURN && asked < QUESTIONS_PER_TURN; looked++) {
      offset = this.#table.nextOpen(offset);
      if (offset < 0 || this.#asked >= this.#options.checksPerRoundMax) return this.#end();
      const ageMs = this.#nowMs - this.#table.storedAtMs(offset);
      // A clock that was set back makes ages negative: then ask rather than wait for the clock.
      const isYoung = ageMs >= 0 && ageMs < this.#options.checkAfterMs;
      if (!isYoung) {
        const row = this.#table.row(offset)!;
        if (!this.#settleWithoutAsking(row, ageMs)) {
          // A half that is not in memory is read from the disk; the walk goes on when it is here.
          if (!this.#ask(row)) return;
          asked++;
        }
      }
      offset++;
    }
    this.#turn.atEnd(() => this.step(offset));
  }

  #settleWithoutAsking(row: HalfRow, ageMs: number): boolean {
    if (row.immuneUntilMs > this.#nowMs) return true;
    if (row.checks >= this.#options.checkMax) {
      this.#parked++;
      this.#counts.add(row.offset, PARKED_COUNT);
      return true;
    }
    if (this.#asker.hasProducer(row.group)) return false;
    this.#waiting++;
    this.#oldestWaitingMs = Math.max(this.#oldestWaitingMs, ageMs);
    return true;
  }

  /** Asks; false when the answer to "was it sent" comes later, and with it the next step. */
  #ask(row: HalfRow): boolean {
    const times = row.checks + 1;
    let isInCall = true;
    let isDone = false;
    this.#asker.ask(row, times, (sent) => {
      isDone = true;
      if (sent) {
        this.#asked++;
        this.#counts.add(row.offset, times);
      } else {
        this.#waiting++;
        this.#oldestWaitingMs = Math.max(this.#oldestWaitingMs, this.#nowMs - row.storedAtMs);
      }
      if (!isInCall) this.step(row.offset + 1);
    });
    isInCall = false;
    return isDone;
  }

  #end(): void {
    this.#done(this.#counts, {
      asked: this.#asked,
      parked: this.#parked,
      waiting: this.#waiting,
      oldestWaitingMs: this.#oldestWaitingMs,
    });
  }
}

/** Looking at a row costs well under a microsecond, a question some ten. */
const HALVES_PER_TURN = 1024;
const QUESTIONS_PER_TURN = 64;
