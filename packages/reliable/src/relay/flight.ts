/**
 * What happens to a claimed batch: bodies that did not come with the heads are read, waves are pushed outside any transaction, each
 * outcome is decided and written down under the lease it was claimed by. A push that does not come back in `sweepAfterMs` counts as
 * unknown; if it is confirmed later after all, its row is still deleted. Never throws; what the database refuses is left for a later claim.
 */
import { backoffMs, type Clock, type Random, type Timers } from '@tallystick/base';
import type { RelayOptions } from '../options.ts';
import { sqlStateOf } from '../sql/sql-state.ts';
import { run } from '../sql/statement.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from '../transports/transport.ts';
import type { Alarm, TroubledRow } from './alarm.ts';
import { Waves, type ClaimedRow } from './batch.ts';
import type { Landing } from './brake.ts';
import { readMessages } from './claim.ts';
import { CONFIRMED, decide, hasLeft, isSpent, outcomeOfError, outcomesOf, unconfirmed, type Settlement } from './decide.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { PostgresStatements } from './postgres-statements.ts';
import { LOCKS_BEFORE_ALARM, type RelayDatabase } from './relay-database.ts';
import type { RelayStatements } from './relay-statements.ts';
import { settleApart, settleTogether, type Decided, type Unwritten } from './settle.ts';
import { comesBack, pause } from '../waits.ts';

/** Since the relay was made. */
export interface RelayCounters {
  confirmed: number;
  /** Outcomes other than confirmed. */
  failed: number;
  dead: number;
  batches: number;
  /** Rows whose settling was refused because their range had changed hands. */
  fenced: number;
}

export interface FlightPorts {
  readonly transport: Transport;
  readonly database: RelayDatabase;
  readonly leases: LeaseKeeper;
  readonly statements: RelayStatements;
  /** Where the database is PostgreSQL. */
  readonly postgres: PostgresStatements | undefined;
  readonly options: RelayOptions;
  readonly scope: string;
  readonly owner: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly counters: RelayCounters;
  tell(alarm: Alarm): void;
  /** How a wave has landed, before it is settled; false: no further wave, the broker is in trouble. */
  felt(landing: Landing, outcomes: readonly PublishOutcome[]): boolean;
  /** How far the relay still wants this: `wave` pushes on, `landing` only settles, `gone` neither. */
  wanted(): 'wave' | 'landing' | 'gone';
  /** Rows whose route is not there; and rows that were confirmed, while some are not. */
  routes: Routes;
}

/** Which routes lead nowhere, told once each until they lead somewhere. */
export interface Routes {
  unroutable(row: TroubledRow, route: string): void;
  confirmed(rows: readonly ClaimedRow[]): void;
}

/** What became of the batch: its rows that have another state now, and whether some of them failed. The others are due as before. */
export interface Landed {
  readonly settled: readonly ClaimedRow[];
  readonly failed: boolean;
}

export async function fly(rows: readonly ClaimedRow[], ports: FlightPorts): Promise<Landed> {
  const settled: ClaimedRow[] = [];
  let failed = false;
  try {
    const live = rows.filter((row) => !isSpent(row, ports.options));
    if (live.length < rows.length) settled.push(...(await giveUp(rows, ports)));
    const messages = await messagesOf(live, ports);
    const keepsOrder = ports.transport.keepsOrder === true;
    const waves = new Waves(live, keepsOrder);
    for (let wave = waves.take(); wave.length > 0; wave = waves.take()) {
      if (ports.wanted() !== 'wave' || !ports.leases.safe(wave)) break;
      const tookOffMs = ports.clock.monotonic();
      const outcomes = await push(wave, messages, ports);
      // A relay that has stopped waiting for this push has no say over its rows any more.
      if (ports.wanted() === 'gone') break;
      const confirmMs = ports.clock.monotonic() - tookOffMs;
      const goOn = ports.felt(
        { tookOffMs, confirmMs, databaseMs: ports.database.slowestMs(), ...felt(wave, outcomes, keepsOrder) },
        outcomes,
      );
      for (const { row, settlement } of await settle(wave, outcomes, ports)) {
        if (settlement.kind === 'left') continue;
        settled.push(row);
        if (hasLeft(settlement)) waves.confirmed(row);
        else failed = true;
      }
      if (!goOn) break;
    }
    ports.database.worked('flight');
  } catch (error) {
    failed = true;
    ports.database.refused(error, 'flight');
  }
  return { settled, failed };
}

/** What was sent in vain as often as it may be is dead; answers which. */
async function giveUp(rows: readonly ClaimedRow[], ports: FlightPorts): Promise<readonly ClaimedRow[]> {
  const spent = rows.filter((row) => isSpent(row, ports.options));
  const decided = spent.map((row) => ({ row, settlement: unconfirmed(row) }));
  return (await writeDown(decided, ports)).map(({ row }) => row);
}

/** Messages by id, those that came with their heads and those that are read now. */
async function messagesOf(rows: readonly ClaimedRow[], ports: FlightPorts): Promise<ReadonlyMap<string, OutgoingMessage>> {
  const bare = rows.filter(({ message }) => message === undefined);
  if (bare.length === 0) return NONE_BARE;
  return ports.database.run(readMessages(ports.statements, ports.postgres, ports.options.channel, bare));
}

const NONE_BARE: ReadonlyMap<string, OutgoingMessage> = new Map();

/** What the outcomes of a wave say about the broker. A message that was kept back for its key's order says nothing. */
function felt(
  wave: readonly ClaimedRow[],
  outcomes: readonly PublishOutcome[],
  keepsOrder: boolean,
): Pick<Landing, 'rows' | 'definite' | 'unavailable'> {
  const gaps = keepsOrder && outcomes.some(({ outcome }) => outcome !== 'confirmed') ? new Set<string>() : undefined;
  let definite = 0;
  let unavailable = 0;
  let keptBack = 0;
  for (let i = 0; i < wave.length; i++) {
    const { outcome } = outcomes[i]!;
    const { key } = wave[i]!;
    if (outcome === 'unavailable' && key !== null && gaps?.has(key) === true) keptBack++;
    else if (outcome === 'unavailable') unavailable++;
    else if (outcome !== 'unknown') definite++;
    if (outcome !== 'confirmed' && key !== null) gaps?.add(key);
  }
  return { rows: wave.length - keptBack, definite, unavailable };
}

/** One outcome per row. */
async function push(
  wave: readonly ClaimedRow[],
  messages: ReadonlyMap<string, OutgoingMessage>,
  ports: FlightPorts,
): Promise<readonly PublishOutcome[]> {
  const sent: OutgoingMessage[] = [];
  const at: number[] = [];
  for (let i = 0; i < wave.length; i++) {
    const message = wave[i]!.message ?? messages.get(wave[i]!.id);
    if (message === undefined) continue;
    sent.push(message);
    at.push(i);
  }
  const answers = sent.length === 0 ? [] : await published(sent, wave, at, ports);
  if (sent.length === wave.length) return answers;
  const outcomes: PublishOutcome[] = wave.map(() => ({ outcome: 'rejected', reason: 'its body is missing from the body table' }));
  at.forEach((i, n) => (outcomes[i] = answers[n]!));
  return outcomes;
}

async function published(
  messages: readonly OutgoingMessage[],
  wave: readonly ClaimedRow[],
  at: readonly number[],
  ports: FlightPorts,
): Promise<readonly PublishOutcome[]> {
  const { sweepAfterMs } = ports.options;
  const answer = answerOf(ports.transport, messages);
  if (await comesBack(answer, sweepAfterMs, ports.timers)) return answer;
  const rows = at.map((i) => wave[i]!);
  void answer.then((late) => landedLate(rows, late, ports));
  return rows.map(() => ({ outcome: 'unknown', reason: `no answer for ${sweepAfterMs} ms (sweepAfterMs)` }));
}

/** The transport's outcomes; never rejects. */
async function answerOf(transport: Transport, messages: readonly OutgoingMessage[]): Promise<PublishOutcome[]> {
  try {
    return outcomesOf(await transport.publish(messages), messages.length);
  } catch (error) {
    return messages.map(() => outcomeOfError(error));
  }
}

async function landedLate(rows: readonly ClaimedRow[], outcomes: readonly PublishOutcome[], ports: FlightPorts): Promise<void> {
  const confirmed = rows.filter((_, i) => outcomes[i]!.outcome === 'confirmed');
  if (confirmed.length === 0 || ports.wanted() === 'gone') return;
  try {
    await settle(
      confirmed,
      confirmed.map(() => CONFIRMED),
      ports,
    );
    ports.database.worked('flight');
  } catch (error) {
    ports.database.refused(error, 'flight');
  }
}

/** Decides what the outcomes mean, and writes it down. */
function settle(
  wave: readonly ClaimedRow[],
  outcomes: readonly PublishOutcome[],
  ports: FlightPorts,
): Promise<readonly Decided[]> {
  const { options, random } = ports;
  const settlementOf = (row: ClaimedRow, outcome: PublishOutcome): Settlement =>
    // Chance is for waits: what is confirmed has none.
    decide(row, outcome, options, outcome.outcome === 'confirmed' ? 0 : random.u32());
  return writeDown(
    wave.map((row, i) => ({ row, settlement: settlementOf(row, outcomes[i]!) })),
    ports,
  );
}

/**
 * Returns what was decided and is written (or needs no writing), nothing of a lease that was lost. While the
 * database is locked, or out of reach, and the leases hold, it goes on trying: what has been pushed and is not written down would be
 * pushed again. What is written twice is written the same.
 */
async function writeDown(decided: readonly Decided[], ports: FlightPorts): Promise<readonly Decided[]> {
  const { clock, random, options, database, leases } = ports;
  const rows = decided.map(({ row }) => row);
  const giveUpMs = clock.monotonic() + options.sweepAfterMs;
  for (let failures = 1; ; failures++) {
    try {
      const { fenced, decidedElsewhere } = await write(decided, failures > 1, ports);
      return settled(decided, fenced, failures === 1 ? decidedElsewhere : await livingAgain(decidedElsewhere, ports), ports);
    } catch (error) {
      const passes =
        database.isLocked(error) || (ports.postgres !== undefined && isPassing(error) && clock.monotonic() < giveUpMs);
      if (!passes || !leases.safe(rows) || ports.wanted() === 'gone') throw error;
      // Told when it lasts; nothing more takes off meanwhile.
      if (failures >= LOCKS_BEFORE_ALARM) database.refused(error, 'flight', failures);
      await pause(backoffMs(LOCKED_WAIT, failures, random.u32()), ports.timers);
    }
  }
}

const LOCKED_WAIT = { firstMs: 5, maxMs: 250 };

const NONE_ELSEWHERE: ReadonlySet<ClaimedRow> = new Set();

/**
 * Written again because no answer came, a failure is not found as it was: it may have been written the first time. What was given up is dead
 * then, unless a person has wanted it tried again.
 */
async function livingAgain(rows: ReadonlySet<ClaimedRow>, ports: FlightPorts): Promise<ReadonlySet<ClaimedRow>> {
  const { database, statements, options } = ports;
  const living = new Set<ClaimedRow>();
  for (const row of rows) {
    if (!isSpent(row, options)) continue;
    const found = await database.run(run(statements.dead({ channel: options.channel, id: row.id })));
    if (found.rows.length === 0) living.add(row);
  }
  return living;
}

async function write(decided: readonly Decided[], repeated: boolean, ports: FlightPorts): Promise<Unwritten> {
  const { options, scope, owner, clock, statements, postgres, database } = ports;
  const order = { channel: options.channel, scope, owner, nowMs: clock.now(), repeated };
  if (decided.every(({ settlement }) => settlement.kind === 'left')) return { fenced: [], decidedElsewhere: NONE_ELSEWHERE };
  if (postgres !== undefined) return database.run(settleTogether(postgres, order, decided));
  const written = decided.filter(({ settlement }) => settlement.kind !== 'left');
  return database.atomically(settleApart(statements, order, written));
}

/** The connection broke, or the server is shutting down, starting, read-only (a failover), or out of connections, space or memory. */
function isPassing(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === undefined || /^(08|57P|53|25006)/.test(state);
}

function settled(
  decided: readonly Decided[],
  fenced: readonly number[],
  elsewhere: ReadonlySet<ClaimedRow>,
  ports: FlightPorts,
): readonly Decided[] {
  const { counters, leases } = ports;
  const held = fenced.length === 0 ? decided : decided.filter(({ row }) => !fenced.includes(row.range));
  counters.fenced += decided.length - held.length;
  const kept = elsewhere.size === 0 ? held : held.filter(({ row }) => !elsewhere.has(row));
  leases.lost(fenced);
  let confirmed = 0;
  for (const one of kept) {
    if (hasLeft(one.settlement)) confirmed++;
    else report(one, ports);
  }
  counters.confirmed += confirmed;
  counters.failed += kept.length - confirmed;
  ports.routes.confirmed(kept.filter(({ settlement }) => hasLeft(settlement)).map(({ row }) => row));
  return kept;
}

function report({ row, settlement }: Decided, ports: FlightPorts): void {
  if (settlement.kind !== 'retrying' && settlement.kind !== 'dead') return;
  const { attempts, tries, outcome, reason } = settlement;
  const troubled: TroubledRow = { id: row.id, topic: row.topic, key: row.key ?? undefined, attempts, tries, outcome, reason };
  if (outcome === 'unroutable') ports.routes.unroutable(troubled, routeOf(row));
  if (settlement.kind === 'dead') {
    ports.counters.dead++;
    ports.tell({ kind: 'dead', row: troubled });
  } else if (tries === ports.options.stuckAfterTries) ports.tell({ kind: 'stuck', row: troubled });
}

/** Where a message goes, for people. */
export function routeOf({ topic, exchange, routingKey }: ClaimedRow): string {
  return exchange === null || exchange === '' ? (routingKey ?? topic) : `${exchange}/${routingKey ?? topic}`;
}
