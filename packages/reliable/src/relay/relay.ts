/**
 * The relay brings committed messages to the broker: it is *triggered* after a commit and *sweeps* on a schedule; both are the same
 * look at the table, so recovery is the normal path. It claims by shard lease without writing, publishes outside any transaction, and
 * settles: confirmed rows are deleted, failed ones wait or die, and every change names the lease's epoch.
 *
 * States: `new` → start() → `running` → stop() → `stopping` (pushes in flight are waited for) → `stopped` (leases given back).
 *
 * Promises: every committed message is pushed until it is confirmed or dead; messages of one key are pushed one after the other, also
 * over retries, restarts and several relays (a repeat carries the same id). Leaves to others: recognising repeats (inbox), and the dead
 * (monitor, a person). It needs a database handle of its own: a synchronous one never waits inside a transaction, an asynchronous one is a
 * connection nobody else uses.
 */
import { resolveOptions, type Clock, type Random, type Timer, type Timers, type Turn } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { RELAY_OPTIONS, type GivenRelayOptions, type RelayOptions } from '../options.ts';
import type { Handle } from '../sql/handles.ts';
import { sessionOf } from '../sql/session.ts';
import type { PublishOutcome, Transport } from '../transports/transport.ts';
import { OUTAGE_AFTER, type Alarm, type TroubledRow } from './alarm.ts';
import type { ClaimedRow } from './batch.ts';
import { afterOutcomes, released, type Brake } from './brake.ts';
import { claimBatch } from './claim.ts';
import { fly, type FlightPorts, type RelayCounters } from './flight.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { RelayDatabase } from './relay-database.ts';
import { relayStatements } from './relay-statements.ts';
import { comesBack } from './waits.ts';

export interface RelaySettings extends GivenRelayOptions {
  /** A handle of the relay's own. */
  readonly db: Handle;
  readonly transport: Transport;
  readonly onAlarm?: ((alarm: Alarm) => void) | undefined;
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
  readonly #turn: Turn;
  readonly #database: RelayDatabase;
  readonly #leases: LeaseKeeper;
  readonly #ports: FlightPorts;

  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #brake: Brake;
  #outageTold = false;
  readonly #flying = { ids: new Set<string>(), keys: new Set<string>() };
  readonly #flights = new Set<Promise<void>>();
  #looking: Promise<unknown> = Promise.resolve();
  #lookAsked = false;
  #sweepTimer: Timer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(settings: RelaySettings) {
    const { db, transport, onAlarm: _onAlarm, onDead: _onDead, clock, random, timers, turn, ...given } = settings;
    this.#settings = settings;
    this.#options = resolveOptions('relay', RELAY_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    this.#random = random ?? systemRandom();
    this.#timers = timers ?? systemTimers();
    this.#turn = turn ?? systemTurn();
    this.#brake = released(this.#options);
    const { channel, table, owner, deadKeys, leaseMs, rangesMax } = this.#options;
    const scope = channel === '' ? table : `${table}:${channel}`;
    this.owner = owner === '' ? `relay-${this.#random.u32().toString(16)}${this.#random.u32().toString(16)}` : owner;
    const session = sessionOf(db);
    const ports = { clock: this.#clock, random: this.#random, timers: this.#timers };
    const tell = (alarm: Alarm): void => this.#tell(alarm);
    this.#database = new RelayDatabase(session, ports, tell);
    this.#leases = new LeaseKeeper(this.#database, { scope, owner: this.owner, leaseMs }, rangesMax, this.#clock, tell);
    this.#ports = {
      ...ports,
      tell,
      transport,
      scope,
      owner: this.owner,
      database: this.#database,
      leases: this.#leases,
      statements: relayStatements(session.dialect, table, deadKeys),
      options: this.#options,
      counters: this.counters,
      felt: (outcomes) => this.#felt(outcomes),
      wanted: () => (this.#active ? 'wave' : this.#state === 'stopping' ? 'landing' : 'gone'),
    };
  }

  /** Begins to look, at once and then on schedule. Throws RELAY_STATE when it was started before. */
  start(): void {
    if (this.#state !== 'new') throw fail('RELAY_STATE', `start() while ${this.#state}`);
    this.#state = 'running';
    this.#lookSoon();
  }

  /** Looks at the end of this turn. Cheap, harmless at any time; any number of calls in a turn are one look. */
  wake(): void {
    if (this.#state === 'running') this.#lookSoon();
  }

  /** Pushes and settles all that can be pushed now; needs no start() and uses no schedule. Returns how many were confirmed meanwhile. */
  async drain(): Promise<number> {
    if (!this.#active) throw fail('RELAY_STATE', `drain() while ${this.#state}`);
    const before = this.counters.confirmed;
    while ((await this.#look()) > 0 || this.#flights.size > 0) await Promise.all(this.#flights);
    return this.counters.confirmed - before;
  }

  /** Claims nothing more, waits for what is in flight (at most `stopAfterMs`), gives the leases back. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping';
    if (this.#sweepTimer !== undefined) this.#timers.cancel(this.#sweepTimer);
    await this.#looking;
    const landed = await comesBack(Promise.all(this.#flights), this.#options.stopAfterMs, this.#timers);
    // While a push is still in the air, nobody else is offered its range before the lease expires.
    if (landed) await this.#leases.release();
    this.#state = 'stopped';
  }

  get #active(): boolean {
    return this.#state === 'new' || this.#state === 'running';
  }

  #lookSoon(): void {
    if (this.#lookAsked) return;
    this.#lookAsked = true;
    this.#turn.atEnd(() => {
      this.#lookAsked = false;
      if (this.#state === 'running') void this.#look();
    });
  }

  /** One look after the other. Answers how many batches took off; never throws. */
  #look(): Promise<number> {
    const look = this.#looking.then(() => this.#lookNow());
    this.#looking = look;
    return look;
  }

  async #lookNow(): Promise<number> {
    let launched = 0;
    try {
      if (this.#active && this.#clock.monotonic() >= this.#database.pausedUntilMs) {
        await this.#leases.keep();
        launched = await this.#launchAll();
        this.#database.worked();
      }
    } catch (error) {
      this.#database.refused(error);
    }
    this.#schedule();
    return launched;
  }

  #mayClaim(): boolean {
    const batchesMax = this.#brake.failures > 0 ? 1 : this.#options.batchesMax;
    return (
      this.#active &&
      this.#leases.held.size > 0 &&
      this.#flights.size < batchesMax &&
      this.#clock.monotonic() >= this.#brake.untilMs
    );
  }

  /** Claims batches and lets them fly, until nothing is due or enough are in the air. Answers how many took off. */
  async #launchAll(): Promise<number> {
    let launched = 0;
    while (this.#mayClaim()) {
      const brake = this.#brake;
      const rows = await this.#claim(brake.batchRows);
      // A batch that landed meanwhile may have found the broker in trouble: what was claimed before knowing that is claimed again.
      if (brake !== this.#brake) continue;
      if (rows.length === 0) break;
      this.#takeOff(rows);
      launched++;
    }
    return launched;
  }

  async #claim(rowsMax: number): Promise<readonly ClaimedRow[]> {
    const { channel, batchBytes, pagesMax } = this.#options;
    const { statements, scope } = this.#ports;
    const { held } = this.#leases;
    const order = {
      channel,
      scope,
      owner: this.owner,
      nowMs: this.#clock.now(),
      rowsMax,
      bytesMax: batchBytes,
      pagesMax,
      flying: this.#flying,
      held,
    };
    return (await this.#database.run(claimBatch(statements, order))).rows;
  }

  #takeOff(rows: readonly ClaimedRow[]): void {
    this.counters.batches++;
    for (const { id, key } of rows) {
      this.#flying.ids.add(id);
      if (key !== null) this.#flying.keys.add(key);
    }
    const flight = fly(rows, this.#ports).then(() => {
      for (const { id, key } of rows) {
        this.#flying.ids.delete(id);
        if (key !== null) this.#flying.keys.delete(key);
      }
      this.#flights.delete(flight);
      this.wake();
    });
    this.#flights.add(flight);
  }

  /** The next look when nothing wakes the relay: at the sweep's interval, the end of a pause, or the next renewal. */
  #schedule(): void {
    if (this.#state !== 'running') return;
    if (this.#sweepTimer !== undefined) this.#timers.cancel(this.#sweepTimer);
    const now = this.#clock.monotonic();
    const pauseMs = Math.max(this.#brake.untilMs, this.#database.pausedUntilMs) - now;
    const lookMs = pauseMs > 0 ? pauseMs : this.#options.sweepIntervalMs;
    const renewMs = this.#leases.renewAtMs > now ? this.#leases.renewAtMs - now : lookMs;
    this.#sweepTimer = this.#timers.after(Math.max(1, Math.ceil(Math.min(lookMs, renewMs))), () => {
      this.#sweepTimer = undefined;
      this.#lookSoon();
    });
  }

  /** Brakes or lets go; false while the broker shows no sign of life. */
  #felt(outcomes: readonly PublishOutcome[]): boolean {
    this.#brake = afterOutcomes(this.#brake, outcomes, this.#options, this.#clock.monotonic(), this.#random.u32());
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

  #tell(alarm: Alarm): void {
    const { onAlarm, onDead } = this.#settings;
    try {
      onAlarm?.(alarm);
      if (alarm.kind === 'dead') onDead?.(alarm.row);
    } catch {
      // The listener's failure is not the relay's: messages go on.
    }
  }
}
