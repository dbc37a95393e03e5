/**
 * The relay brings committed messages to the broker: it is *triggered* after a commit and *sweeps* on a schedule; both are the same
 * look at the table, so recovery is the normal path. It claims by shard lease without writing, publishes outside any transaction, and
 * settles: confirmed rows are deleted, failed ones wait or die, and every change names the lease's epoch. The next batch is claimed while
 * others fly; claims and settles use connections of their own.
 *
 * States: `new` → start() → `running` → stop() → `stopping` (pushes in flight are waited for) → `stopped` (leases given back).
 *
 * Promises: every committed message is pushed until it is confirmed or dead; messages of one key are pushed one after the other, also
 * over retries, restarts and several relays (a repeat carries the same id). Leaves to others: recognising repeats (inbox), and the dead
 * (monitor, a person). It is given a pool, or a handle of its own: a synchronous one never waits inside a transaction, an asynchronous one
 * is a connection nobody else uses.
 */
import { backoffMs, resolveOptions, type Clock, type Random, type Timers, type Turn } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { tellOnStandardError } from '../alarm-line.ts';
import { fail } from '../errors.ts';
import { RELAY_OPTIONS, type GivenRelayOptions, type RelayOptions } from '../options.ts';
import { connectionsOf } from '../sql/connections.ts';
import type { Database } from '../sql/handles.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { tracedTransport } from '../telemetry/traced.ts';
import type { PublishOutcome, Transport } from '../transports/transport.ts';
import { OUTAGE_AFTER, type Alarm, type TroubledRow } from './alarm.ts';
import type { ClaimedRow } from './batch.ts';
import { afterLanding, batchRowsOf, released, type Brake, type Landing } from './brake.ts';
import { Claimer } from './claim.ts';
import { fly, routeOf, type FlightPorts, type Landed, type RelayCounters } from './flight.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { holderName } from './leases.ts';
import { SWEEPS, type SweepKind } from './low-water.ts';
import { postgresStatements } from './postgres-statements.ts';
import { earliestOfKeys } from './overtaken.ts';
import { RelayDatabase } from './relay-database.ts';
import { relayStatements } from './relay-statements.ts';
import { Retention } from './retention.ts';
import { PassingSet } from '../passing.ts';
import { Looks } from '../looks.ts';
import { comesBack } from '../waits.ts';

export interface RelaySettings extends GivenRelayOptions {
  /** A pool, or a handle of the relay's own. */
  readonly db: Database;
  readonly transport: Transport;
  /** Default: a line on the standard error. */
  readonly onAlarm?: ((alarm: Alarm) => void) | undefined;
  /** `otel(api)`: a span per batch, counts per outcome, and how long each message took. */
  readonly telemetry?: Telemetry | undefined;
  /** The same as the alarm `dead`, for those who want only that. */
  readonly onDead?: ((row: TroubledRow) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly timers?: Timers | undefined;
  readonly turn?: Turn | undefined;
}

export function createRelay(settings: RelaySettings): Relay {
  return new Relay(settings);
}

export class Relay {
  readonly counters: RelayCounters = { confirmed: 0, failed: 0, dead: 0, batches: 0, fenced: 0 };
  /** Its name in the lease table. */
  readonly owner: string;
  readonly #settings: RelaySettings;
  readonly #options: RelayOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #timers: Timers;
  readonly #database: RelayDatabase;
  readonly #leases: LeaseKeeper;
  readonly #claimer: Claimer;
  readonly #retention: Retention;
  readonly #ports: FlightPorts;

  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #brake: Brake;
  #outageTold = false;
  /** Routes that were told to lead nowhere. */
  readonly #lost = new Set<string>();
  readonly #flying = { ids: new PassingSet<string>(), keys: new PassingSet<string>() };
  readonly #flights: Promise<void>[] = [];
  /** Landed while a claim was under way; a claim must know all that was in the air since it began. */
  readonly #landed: (() => void)[] = [];
  #claiming = false;
  /** The last look left something unseen (no room for it in the air, or a pause): when something lands the next look follows. */
  #owing = true;
  /** A look is under way; whether something has landed since it began. */
  #underWay: { landed: boolean } | undefined;
  readonly #turn: Turn;
  /** What waits for the end of this turn before it flies. */
  #turnEnd: Promise<void> | undefined;
  readonly #looks: Looks;
  /** Looks in a row that found nothing, with nothing in the air. */
  #idle = 0;
  /** When each sweep begins, or goes on. */
  readonly #sweepAtMs: Record<SweepKind, number> = { whole: 0, late: 0 };
  /** The last look stopped because it had walked far. */
  #unfinished = false;
  #allAtMs = 0;
  #stopping: Promise<void> | undefined;

  constructor(settings: RelaySettings) {
    const { db, transport, telemetry, onAlarm: _onAlarm, onDead: _onDead, clock, random, timers, turn, ...given } = settings;
    if (typeof (transport as Partial<Transport> | undefined)?.publish !== 'function')
      throw new TypeError('createRelay: transport is not an object with publish(batch)');
    this.#settings = settings;
    this.#options = resolveOptions('relay', RELAY_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    this.#random = random ?? systemRandom();
    this.#timers = timers ?? systemTimers();
    this.#turn = turn ?? systemTurn();
    this.#looks = new Looks({
      turn: this.#turn,
      timers: this.#timers,
      running: () => this.#state === 'running',
      look: () => this.#look(),
    });
    this.#brake = released(this.#options);
    const { channel, table, owner, deadKeys, leaseMs, rangesMax } = this.#options;
    const scope = channel === '' ? table : `${table}:${channel}`;
    this.owner = holderName(owner === '' ? 'relay' : owner, this.#random);
    const ports = { clock: this.#clock, random: this.#random, timers: this.#timers };
    const tell = (alarm: Alarm): void => this.#tell(alarm);
    this.#database = new RelayDatabase(connectionsOf(db), this.#options, ports, tell);
    this.#leases = new LeaseKeeper(this.#database, { scope, owner: this.owner, leaseMs }, rangesMax, this.#clock, tell);
    const { dialect } = this.#database;
    const statements = relayStatements(dialect, table, deadKeys);
    const postgres = dialect.name === 'postgres' ? postgresStatements(dialect, table, deadKeys) : undefined;
    this.#claimer = new Claimer(
      statements,
      postgres,
      { channel, scope, owner: this.owner },
      // SQLite gives the numbers of deleted rows again.
      { earliest: earliestOfKeys(dialect, table), growing: dialect.name !== 'sqlite' },
    );
    this.#retention = new Retention(statements, this.#database, this.#options, this.#clock);
    this.#ports = {
      ...ports,
      tell,
      transport: telemetry === undefined ? transport : tracedTransport(transport, telemetry, this.#clock),
      scope,
      owner: this.owner,
      database: this.#database,
      leases: this.#leases,
      statements,
      postgres,
      options: this.#options,
      counters: this.counters,
      felt: (landing, outcomes) => this.#felt(landing, outcomes),
      wanted: () => (this.#active ? 'wave' : this.#state === 'stopping' ? 'landing' : 'gone'),
      routes: {
        unroutable: (row, route) => this.#unroutable(row, route),
        confirmed: (rows) => this.#routed(rows),
      },
    };
  }

  /** Begins to look, at once and then on schedule. Throws RELAY_STATE when it was started before. */
  start(): void {
    if (this.#state !== 'new') throw fail('RELAY_STATE', `start() while ${this.#state}`);
    this.#state = 'running';
    this.#looks.soon();
  }

  /** Looks at the end of this turn. Cheap, harmless at any time; any number of calls in a turn are one look. */
  wake(): void {
    if (this.#state === 'running') this.#looks.soon();
  }

  /** Pushes and settles all that can be pushed now; needs no start() and uses no schedule. Returns how many were confirmed meanwhile. */
  async drain(): Promise<number> {
    if (!this.#active) throw fail('RELAY_STATE', `drain() while ${this.#state}`);
    const before = this.counters.confirmed;
    // The last looks go from the very beginning of every state to its end.
    let whole = false;
    for (let launched = 1; launched > 0 || this.#flights.length > 0 || !whole;) {
      if (this.#flights.length > 0) await Promise.race(this.#flights);
      whole = launched === 0 || this.#flights.length === 0;
      if (whole) {
        this.#claimer.forget();
        this.#leases.seeSoon();
      }
      launched = 0;
      do {
        this.#allAtMs = 0;
        launched += await this.#looks.now();
      } while (this.#unfinished);
    }
    return this.counters.confirmed - before;
  }

  /** Claims nothing more, waits for what is in flight (at most `stopAfterMs`), gives the leases back. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping';
    await this.#looks.end();
    const landed = await comesBack(Promise.all(this.#flights), this.#options.stopAfterMs, this.#timers);
    // While a push is still in the air, nobody else is offered its range before the lease expires.
    if (landed) await this.#leases.release();
    this.#state = 'stopped';
  }

  get #active(): boolean {
    return this.#state === 'new' || this.#state === 'running';
  }

  /** Nobody waits for it, so its failures keep nothing waiting; they are counted by themselves. */
  async #forget(): Promise<void> {
    try {
      if (await this.#retention.step()) this.#database.worked('retention');
    } catch (error) {
      this.#database.refused(error, 'retention');
    }
  }

  /** Answers how many batches took off; never rejects. */
  async #look(): Promise<number> {
    let launched = 0;
    let seen = false;
    this.#unfinished = false;
    const look = (this.#underWay = { landed: false });
    try {
      if (this.#active && this.#clock.monotonic() >= this.#database.pausedUntilMs) {
        if (await this.#leases.keep()) this.#claimer.forget();
        ({ launched, seen } = await this.#launchAll());
        this.#database.worked('look');
        await this.#forget();
      }
    } catch (error) {
      this.#database.refused(error, 'look');
    }
    this.#underWay = undefined;
    this.#owing = !seen;
    if ((!seen && look.landed) || this.#unfinished) this.wake();
    this.#idle = launched === 0 && this.#flights.length === 0 ? this.#idle + 1 : 0;
    this.#schedule();
    return launched;
  }

  /** Rows that the next batch may have; 0: none may fly now. */
  #rowsMax(): number {
    const { batchesMax } = this.#options;
    const { failures, untilMs } = this.#brake;
    const { refusesFlights } = this.#database;
    const mayFly =
      this.#active &&
      this.#leases.held.size > 0 &&
      this.#flights.length < (failures > 0 || refusesFlights ? 1 : batchesMax) &&
      this.#clock.monotonic() >= Math.max(untilMs, this.#database.pausedUntilMs);
    if (!mayFly) return 0;
    return refusesFlights ? 1 : batchRowsOf(this.#brake, this.#options, this.#flying.ids.size);
  }

  /** Claims batches and lets them fly, until nothing is due or enough are in the air. Answers how many took off, and whether all that is due was seen. */
  async #launchAll(): Promise<{ launched: number; seen: boolean }> {
    let launched = 0;
    let seen = false;
    for (let rowsMax = this.#rowsMax(); rowsMax > 0; rowsMax = this.#rowsMax()) {
      // However long there is something to claim, the leases are renewed in time: by the next look.
      if (launched > 0 && this.#clock.monotonic() >= this.#leases.renewAtMs) break;
      const { failures } = this.#brake;
      const rows = await this.#claim(rowsMax);
      seen = this.#claimer.exhausted;
      if (rows.length === 0) break;
      if (this.#brake.failures > failures) {
        // A batch that landed meanwhile has found the broker in trouble: what was claimed before knowing that is claimed again.
        for (const row of rows) this.#claimer.putBack(row);
        seen = false;
        continue;
      }
      this.#takeOff(rows, seen || this.#state === 'new');
      launched++;
      if (seen) break;
    }
    return { launched, seen };
  }

  async #claim(rowsMax: number): Promise<readonly ClaimedRow[]> {
    const { batchBytes, pagesMax } = this.#options;
    const claimer = this.#claimer;
    const began = this.#clock.monotonic();
    // Where a whole sweep takes long, another looks meanwhile only where late rows may be.
    const sweeps = SWEEPS.filter(
      (kind) => began >= this.#sweepAtMs[kind] && (kind === 'whole' || (claimer.knowsLate && claimer.sweeping('whole'))),
    );
    const all = began >= this.#allAtMs || sweeps.length > 0;
    const order = {
      nowMs: this.#clock.now(),
      monotonicMs: began,
      rowsMax,
      bytesMax: batchBytes,
      pagesMax,
      flying: this.#flying,
      held: this.#leases.held,
      all,
      sweeps,
    };
    this.#claiming = true;
    try {
      return (await this.#database.run(claimer.claim(order), sweeps.length === 0)).rows;
    } finally {
      const now = this.#clock.monotonic();
      this.#unfinished = claimer.unfinished;
      if (all) this.#allAtMs = now + ALL_INTERVAL_MS;
      for (const kind of sweeps) this.#sweepAtMs[kind] = now + this.#sweepPauseMs(kind, now - began);
      this.#claiming = false;
      for (const land of this.#landed.splice(0)) land();
    }
  }

  /** A sweep that walks far may take a twentieth of the time, not all of it; where it finds what is due it goes on. */
  #sweepPauseMs(kind: SweepKind, tookMs: number): number {
    const { swept, found, findsOut } = this.#claimer;
    const pauseMs = swept ? (findsOut ? FIRST_SWEEPS_PAUSE : SWEEP_PAUSE) * tookMs : 0;
    if (!this.#claimer.sweeping(kind)) return Math.max(this.#options.sweepIntervalMs / 2, pauseMs);
    return found > 0 ? 0 : pauseMs;
  }

  #takeOff(rows: readonly ClaimedRow[], atOnce: boolean): void {
    this.counters.batches++;
    for (const { id, key } of rows) {
      this.#flying.ids.add(id);
      if (key !== null) this.#flying.keys.add(key);
    }
    // Else the next claim is asked for first: the database makes its rows ready while these are handed over. None flies before an earlier one.
    const flown =
      atOnce && this.#turnEnd === undefined ? fly(rows, this.#ports) : this.#turnEnds().then(() => fly(rows, this.#ports));
    const flight = flown.then((landed) => {
      void this.#flights.splice(this.#flights.indexOf(flight), 1);
      if (this.#claiming) this.#landed.push(() => this.#land(rows, landed));
      else this.#land(rows, landed);
    });
    this.#flights.push(flight);
  }

  #turnEnds(): Promise<void> {
    this.#turnEnd ??= new Promise((resolve) =>
      this.#turn.atEnd(() => {
        this.#turnEnd = undefined;
        resolve();
      }),
    );
    return this.#turnEnd;
  }

  #land(rows: readonly ClaimedRow[], { settled, failed }: Landed): void {
    for (const { id, key } of rows) {
      this.#flying.ids.delete(id);
      if (key !== null) this.#flying.keys.delete(key);
    }
    if (settled.length < rows.length) {
      const done = new Set(settled);
      for (const row of rows) if (!done.has(row)) this.#claimer.putBack(row);
    }
    const freed = this.#claimer.landed(settled, failed);
    if (this.#underWay !== undefined) this.#underWay.landed = true;
    // Where all that was due has been seen, the next commit wakes the relay, or the schedule.
    else if (this.#owing) this.wake();
    if (freed || settled.length < rows.length) this.wake();
  }

  /** The next look when nothing wakes the relay: the longer nothing is found the later, the end of a pause, a sweep, or the next renewal. */
  #schedule(): void {
    const now = this.#clock.monotonic();
    const { sweepIntervalMs } = this.#options;
    const pauseMs = Math.max(this.#brake.untilMs, this.#database.pausedUntilMs) - now;
    const idleMs = backoffMs(
      { firstMs: Math.min(IDLE_FIRST_MS, sweepIntervalMs), maxMs: sweepIntervalMs },
      this.#idle,
      this.#random.u32(),
    );
    const { whole, late } = this.#sweepAtMs;
    const sweepAtMs = this.#claimer.knowsLate && this.#claimer.sweeping('whole') ? Math.min(whole, late) : whole;
    const sweepMs = sweepAtMs > now ? sweepAtMs - now : idleMs;
    const lookMs = pauseMs > 0 ? pauseMs : Math.min(idleMs, sweepMs);
    const renewMs = this.#leases.renewAtMs > now ? this.#leases.renewAtMs - now : lookMs;
    this.#looks.after(Math.min(lookMs, renewMs));
  }

  /** Brakes or lets go; false while the broker shows no sign of life. */
  #felt(landing: Landing, outcomes: readonly PublishOutcome[]): boolean {
    this.#brake = afterLanding(this.#brake, landing, this.#options, this.#clock.monotonic(), this.#random.u32());
    const { failures } = this.#brake;
    if (failures >= OUTAGE_AFTER && !this.#outageTold) {
      this.#outageTold = true;
      this.#tell({ kind: 'outage', failures, reason: outcomes.at(-1)?.reason ?? 'no reason given' });
    } else if (failures === 0 && this.#outageTold) {
      this.#outageTold = false;
      this.#tell({ kind: 'outage-over' });
    }
    return failures === 0;
  }

  #unroutable(row: TroubledRow, route: string): void {
    if (this.#lost.has(route) || this.#lost.size >= ROUTES_MAX) return;
    this.#lost.add(route);
    this.#tell({ kind: 'unroutable', row, route });
  }

  #routed(rows: readonly ClaimedRow[]): void {
    if (this.#lost.size > 0) for (const row of rows) this.#lost.delete(routeOf(row));
  }

  #tell(alarm: Alarm): void {
    const { onAlarm, onDead, telemetry } = this.#settings;
    try {
      if (alarm.kind === 'dead') telemetry?.count('dead', 1);
      if (onAlarm === undefined) tellOnStandardError('relay', alarm);
      else onAlarm(alarm);
      if (alarm.kind === 'dead') onDead?.(alarm.row);
    } catch {
      // The listener's failure is not the relay's: messages go on.
    }
  }
}

/** How often a busy relay looks for what is retried, delayed or sent. */
const ALL_INTERVAL_MS = 50;
/** After a page of a sweep there is none for so many times as long as it took. */
const SWEEP_PAUSE = 19;
/** The same until it is known where late rows may be. */
const FIRST_SWEEPS_PAUSE = 4;
/** The first wait after nothing was found. */
const IDLE_FIRST_MS = 10;
/** Routes that are remembered as leading nowhere. */
const ROUTES_MAX = 1000;
