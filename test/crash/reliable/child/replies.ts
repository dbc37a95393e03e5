/**
 * Bank B's voice: confirmations lie in its own outbox and call table, written in the transaction of the effect, and two relays bring them
 * to bank A. Between each relay and its way out stands the harness; some confirmations are lost there.
 */
import { createOutbox, createRelay, httpTransport, type Outbox, type Transport } from '@tallystick/reliable';
import pg from 'pg';
import { announced } from './announced.ts';
import type { BrokerEnds } from './brokers.ts';
import type { ChildOptions, ConfirmationOptions, Line } from './line.ts';

const QUERY_TIMEOUT_MS = 5000;
const CALL_TIMEOUT_MS = 3000;

export interface Voice {
  readonly outbox: Outbox<pg.Pool>;
  stop(): Promise<void>;
}

export function confirming(
  ends: BrokerEnds,
  options: ChildOptions,
  { port, token, lostEvery }: ConfirmationOptions,
  line: Line,
): Voice {
  const pool = new pg.Pool({
    connectionString: options.b,
    max: 6,
    query_timeout: QUERY_TIMEOUT_MS,
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
  });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => void client.on('error', () => undefined));
  const http = httpTransport({
    allow: [`http://127.0.0.1:${port}`],
    timeoutMs: CALL_TIMEOUT_MS,
    fetch: (url, init) => {
      const headers = new Headers(init?.headers);
      headers.set('authorization', `Bearer ${token}`);
      return fetch(url, { ...init, headers });
    },
  });
  const relays = [
    relayOf('tallystick_outbox', lossy(ends.transport(), lostEvery, line), {
      claimed: 'confirmation-claimed',
      sent: 'confirmation-published',
      confirmed: 'confirmation-unsettled',
    }),
    relayOf('tallystick_call', lossy(http, lostEvery, line), {
      claimed: 'request-claimed',
      sent: 'request-sent',
      confirmed: 'request-unsettled',
    }),
  ];
  for (const relay of relays) relay.start();
  return {
    outbox: createOutbox(pool, { mode: 'deferred' }),
    stop: async () => void (await Promise.all(relays.map((relay) => relay.stop()))),
  };

  function relayOf(
    table: 'tallystick_outbox' | 'tallystick_call',
    transport: Transport,
    steps: NonNullable<Parameters<typeof announced>[2]>,
  ): ReturnType<typeof createRelay> {
    return createRelay({
      db: pool,
      table,
      transport: announced(transport, line, steps),
      owner: `${options.name}-${table}`,
      leaseMs: options.leaseMs,
      sweepIntervalMs: 50,
      retryFirstMs: 100,
      retryMaxMs: 1000,
      brakeFirstMs: 50,
      brakeMaxMs: 500,
      stopAfterMs: 2000,
      onAlarm: (alarm) => line.count(`alarm-reply-${alarm.kind}`, alarm.kind === 'database' ? String(alarm.error) : ''),
    });
  }
}

/** Says of some confirmations, once per process, that they have arrived, and throws them away. */
function lossy(transport: Transport, every: number, line: Line): Transport {
  const lost = new Set<string>();
  const isLost = (body: Uint8Array): boolean => {
    const { serial } = JSON.parse(Buffer.from(body).toString('utf8')) as { serial: string };
    if (lost.has(serial) || Number.parseInt(serial.slice(-6), 16) % every !== 0) return false;
    lost.add(serial);
    line.count('confirmation-lost');
    return true;
  };
  return {
    ...(transport.keepsOrder === undefined ? {} : { keepsOrder: transport.keepsOrder }),
    async publish(batch) {
      const sent = batch.filter(({ body }) => !isLost(body));
      const outcomes = sent.length === 0 ? [] : await transport.publish(sent);
      return batch.map((message) => {
        const at = sent.indexOf(message);
        return at < 0 ? { outcome: 'confirmed' } : outcomes[at]!;
      });
    },
  };
}
