/**
 * What happens to a claimed batch: bodies are read, waves are pushed outside any transaction, each outcome is decided and written down
 * under the lease it was claimed by. A push that does not come back in `sweepAfterMs` counts as unknown; if it is confirmed
 * later after all, its row is still deleted. Never throws; what the database refuses is left for a later claim.
 */
import { backoffMs, type Clock, type Random, type Timers } from '@tallystick/base';
import type { RelayOptions } from '../options.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from '../transports/transport.ts';
import type { Alarm, TroubledRow } from './alarm.ts';
import { Waves, type ClaimedRow } from './batch.ts';
import { readMessages } from './claim.ts';
import { decide, outcomeOfError, outcomesOf } from './decide.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { RelayDatabase } from './relay-database.ts';
import type { RelayStatements } from './relay-statements.ts';
import { settleRows, type Decided } from './settle.ts';
import { comesBack, pause } from './waits.ts';

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
  readonly options: RelayOptions;
  readonly scope: string;
  readonly owner: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly counters: RelayCounters;
  tell(alarm: Alarm): void;
  /** Outcomes of a wave, before they are settled; false: no further wave, the broker is in trouble. */
  felt(outcomes: readonly PublishOutcome[]): boolean;
  /** How far the relay still wants this: `wave` pushes on, `landing` only settles, `gone` neither. */
  wanted(): 'wave' | 'landing' | 'gone';
}

export async function fly(rows: readonly ClaimedRow[], ports: FlightPorts): Promise<void> {
  try {
    const messages = await ports.database.run(readMessages(ports.statements, ports.options.channel, rows));
    const waves = new Waves(rows);
    for (let wave = waves.take(); wave.length > 0; wave = waves.take()) {
      if (ports.wanted() !== 'wave' || !ports.leases.safe(wave)) return;
      const outcomes = await push(wave, messages, ports);
      // A relay that has stopped waiting for this push has no say over its rows any more.
      if (ports.wanted() === 'gone') return;
      const goOn = ports.felt(outcomes);
      for (const row of await settle(wave, outcomes, ports)) waves.confirmed(row);
      if (!goOn) return;
    }
  } catch (error) {
    ports.database.refused(error);
  }
}

/** One outcome per row. */
async function push(
  wave: readonly ClaimedRow[],
  messages: ReadonlyMap<string, OutgoingMessage>,
  ports: FlightPorts,
): Promise<PublishOutcome[]> {
  const sent = wave.filter(({ id }) => messages.has(id));
  const answers = sent.length === 0 ? [] : await published(sent, messages, ports);
  const byId = new Map(sent.map(({ id }, i) => [id, answers[i]!]));
  return wave.map(({ id }) => byId.get(id) ?? { outcome: 'rejected', reason: 'its body is missing from the body table' });
}

async function published(
  rows: readonly ClaimedRow[],
  messages: ReadonlyMap<string, OutgoingMessage>,
  ports: FlightPorts,
): Promise<PublishOutcome[]> {
  const { sweepAfterMs } = ports.options;
  const answer = answerOf(
    ports.transport,
    rows.map(({ id }) => messages.get(id)!),
  );
  if (await comesBack(answer, sweepAfterMs, ports.timers)) return answer;
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
      confirmed.map(() => ({ outcome: 'confirmed' })),
      ports,
    );
  } catch (error) {
    ports.database.refused(error);
  }
}

/**
 * Decides and writes down; returns the rows that are confirmed and deleted. While the database is locked and the leases hold it goes
 * on trying: what has been pushed and is not written down would be pushed again.
 */
async function settle(
  wave: readonly ClaimedRow[],
  outcomes: readonly PublishOutcome[],
  ports: FlightPorts,
): Promise<ClaimedRow[]> {
  const { clock, random, options, scope, owner, statements, database, leases } = ports;
  const nowMs = clock.now();
  const decided = wave.map((row, i) => ({ row, settlement: decide(row, outcomes[i]!, options, nowMs, random.u32()) }));
  const written = decided.filter(({ settlement }) => settlement.kind !== 'left');
  const order = { channel: options.channel, scope, owner, nowMs };
  for (let failures = 1; ; failures++) {
    try {
      const fenced = written.length === 0 ? [] : await database.atomically(settleRows(statements, order, written));
      return settled(decided, fenced, ports);
    } catch (error) {
      if (!database.isLocked(error) || !leases.safe(wave) || ports.wanted() === 'gone') throw error;
      await pause(backoffMs(LOCKED_WAIT, failures, random.u32()), ports.timers);
    }
  }
}

const LOCKED_WAIT = { firstMs: 5, maxMs: 250 };

function settled(decided: readonly Decided[], fenced: readonly number[], ports: FlightPorts): ClaimedRow[] {
  const { counters, leases } = ports;
  const kept = decided.filter(({ row }) => !fenced.includes(row.range));
  counters.fenced += decided.length - kept.length;
  leases.lost(fenced);
  const confirmed = kept.filter(({ settlement }) => settlement.kind === 'confirmed');
  counters.confirmed += confirmed.length;
  counters.failed += kept.length - confirmed.length;
  for (const one of kept) report(one, ports);
  return confirmed.map(({ row }) => row);
}

function report({ row, settlement }: Decided, ports: FlightPorts): void {
  if (settlement.kind === 'confirmed' || settlement.kind === 'left') return;
  const { attempts, tries, outcome, reason } = settlement;
  const troubled: TroubledRow = { id: row.id, topic: row.topic, key: row.key ?? undefined, attempts, tries, outcome, reason };
  if (settlement.kind === 'dead') {
    ports.counters.dead++;
    ports.tell({ kind: 'dead', row: troubled });
  } else if (tries === ports.options.stuckAfterTries) ports.tell({ kind: 'stuck', row: troubled });
}
