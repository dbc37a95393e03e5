/** The relay as its users run it, in a process of its own; between it and its two partners stands the harness. */
import { systemClock, systemRandom } from '@tallystick/base/node';
import { createRelay, MessageIds, type OutgoingMessage, type Transport } from '@tallystick/reliable';
import pg from 'pg';
import { announced } from './announced.ts';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, Line } from './line.ts';
import { NaiveRelay, type NaiveDefect } from './naive-relay.ts';
import { watchQueries } from './watch-queries.ts';

const SWEEP_MS = 50;
const QUERY_TIMEOUT_MS = 10_000;
/** For a service whose own transactions shall not notice a recovery. */
const GENTLE = { databaseTargetMs: 10, batchRows: 200 };

export async function runRelay(options: ChildOptions, line: Line): Promise<void> {
  const ends = brokerEnds(options.broker);
  const sound = ends.transport();
  const transport = announced(flawed(sound, options), line);
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
    ...(options.gentle ? GENTLE : options.bulk ? {} : { batchRows: 50 }),
    ...(options.rangesMax === undefined ? {} : { rangesMax: options.rangesMax }),
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
  if (defect === 'claims-everything') return 'all-at-once';
  if (defect === 'competing-relays') return 'skip-locked';
  if (defect === 'drains-under-lock') return 'lock-table';
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
    watchSettling(client, line, options.confirmation === undefined ? DELETES : CHANGES);
  });
  return pool;
}

const DELETES = /delete\s+from\s+"?tallystick_outbox"?\b|^\s*commit\b/i;
/** Where the consumer confirms, the broker's confirmation makes a row `sent`. */
const CHANGES = /update\s+"?tallystick_outbox"?\s+as\s+h\b|^\s*commit\b/i;

/** Settling is known by what it does; it ends with its statement, or with the transaction that the statement is in. */
function watchSettling(client: pg.ClientBase, line: Line, cares: RegExp): void {
  let settling = false;
  watchQueries(client, {
    cares,
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

function flawed(transport: Transport, { defect }: ChildOptions): Transport {
  if (defect === 'confirm-not-awaited') return hasty(transport);
  return defect === 'new-serial-on-repeat' ? renaming(transport) : transport;
}

/** The defect: what is sent again gets a number of its own. */
function renaming(transport: Transport): Transport {
  const ids = new MessageIds(systemClock, systemRandom());
  const sent = new Set<string>();
  return {
    ...(transport.keepsOrder === undefined ? {} : { keepsOrder: transport.keepsOrder }),
    publish: (batch) =>
      transport.publish(
        batch.map((message) => {
          if (sent.has(message.id)) return { ...message, id: ids.next() };
          sent.add(message.id);
          return message;
        }),
      ),
  };
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
