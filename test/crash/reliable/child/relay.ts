/** The relay as its users run it, in a process of its own; between it and its two partners stands the harness. */
import { createRelay, type OutgoingMessage, type PublishOutcome, type Transport } from '@tallystick/reliable';
import pg from 'pg';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, Line } from './line.ts';
import { NaiveRelay, type NaiveDefect } from './naive-relay.ts';
import { watchQueries } from './watch-queries.ts';

const SWEEP_MS = 50;
const QUERY_TIMEOUT_MS = 10_000;

export async function runRelay(options: ChildOptions, line: Line): Promise<void> {
  const ends = brokerEnds(options.broker);
  const sound = ends.transport();
  const transport = announced(options.defect === 'confirm-not-awaited' ? hasty(sound) : sound, line);
  const naive = naiveOf(options);
  if (naive !== undefined) {
    const relay = new NaiveRelay(options, line, transport, naive);
    line.onStop = () => process.exit(0);
    line.ready();
    await relay.run();
    return;
  }
  const relay = createRelay({
    db: poolOf(options, line),
    transport,
    owner: options.name,
    leaseMs: options.leaseMs,
    sweepIntervalMs: SWEEP_MS,
    sweepAfterMs: 10_000,
    retryFirstMs: 100,
    retryMaxMs: 1000,
    brakeFirstMs: 50,
    brakeMaxMs: 500,
    batchRows: 50,
    stopAfterMs: 2000,
    onAlarm: (alarm) =>
      line.count(`alarm-${alarm.kind}`, alarm.kind === 'database' ? String((alarm.error as Error).stack) : JSON.stringify(alarm)),
  });
  line.onStop = () => {
    void relay
      .stop()
      .then(() => ends.close())
      .finally(() => process.exit(0));
  };
  relay.start();
  line.ready();
}

function naiveOf({ defect, old }: ChildOptions): NaiveDefect | undefined {
  if (old) return 'none';
  if (defect === 'polls-id-greater-last') return 'last-id';
  if (defect === 'order-broken') return 'newest-first';
  return defect === 'settle-without-fence' ? 'no-fence' : undefined;
}

function poolOf(options: ChildOptions, line: Line): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.a,
    max: 4,
    query_timeout: QUERY_TIMEOUT_MS,
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
  });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
    watchSettling(client, line);
  });
  return pool;
}

/** Settling is known by what it does; it ends with its statement, or with the transaction that the statement is in. */
function watchSettling(client: pg.ClientBase, line: Line): void {
  let settling = false;
  watchQueries(client, {
    cares: /delete\s+from\s+"?tallystick_outbox"?\b|^\s*commit\b/i,
    before: (sql) => (isCommit(sql) ? undefined : line.reached('before-settle', 0, '')),
    answered(sql, status) {
      settling ||= !isCommit(sql);
      if (!settling || status !== 'I') return undefined;
      settling = false;
      return line.reached('after-settle', 0, '');
    },
  });
}

function isCommit(sql: string): boolean {
  return /^\s*commit\b/i.test(sql);
}

/** The transport, with the steps of a push. */
function announced(transport: Transport, line: Line): Transport {
  return {
    ...(transport.keepsOrder === undefined ? {} : { keepsOrder: transport.keepsOrder }),
    async publish(batch) {
      const first = batch[0]?.id ?? '';
      await line.reached('after-claim', batch.length, first);
      const answer = transport.publish(batch);
      // It may be rejected while the harness holds us; the await below is told.
      answer.catch(() => undefined);
      await line.reached('published', batch.length, first);
      const outcomes = await answer;
      countOutcomes(outcomes, line);
      if (outcomes.some(({ outcome }) => outcome === 'confirmed')) await line.reached('after-publish', batch.length, first);
      return outcomes;
    },
  };
}

function countOutcomes(outcomes: readonly PublishOutcome[], line: Line): void {
  for (const { outcome, reason } of outcomes) if (outcome !== 'confirmed') line.count(`publish-${outcome}`, reason ?? '');
}

/** The defect: what has been handed over counts as confirmed. */
function hasty(transport: Transport): Transport {
  return {
    publish: async (batch: readonly OutgoingMessage[]) => {
      void transport.publish(batch).catch(() => undefined);
      return batch.map(() => ({ outcome: 'confirmed' }));
    },
  };
}
