/**
 * Telemetry of the parts that move messages, put around their seams: a transport that tells what it publishes, a receiver that tells what
 * it handles, a monitor that is asked when metrics are read. Relay and inbox put the first two around what they are given when they have
 * the setting `telemetry`.
 */
import type { Clock } from '@tallystick/base';
import { systemClock } from '@tallystick/base/node';
import type { Delivery, OutgoingMessage, PublishOutcome, Receipt, Transport } from '../transports/transport.ts';
import type { Observed, Telemetry } from './telemetry.ts';

/** The transport, with a span per batch, counts per outcome, and how long each message took to be confirmed. */
export function tracedTransport(transport: Transport, telemetry: Telemetry, clock: Clock = systemClock): Transport {
  return {
    ...(transport.keepsOrder === undefined ? {} : { keepsOrder: transport.keepsOrder }),
    async publish(batch) {
      const trace = telemetry.publishing(batch);
      let outcomes: readonly PublishOutcome[];
      try {
        outcomes = await transport.publish(batch);
      } catch (error) {
        const { outcome } = (error ?? {}) as { outcome?: unknown };
        const failed = { outcome: typeof outcome === 'string' ? outcome : 'unknown', reason: String(error) } as PublishOutcome;
        const all = batch.map(() => failed);
        trace.end(all);
        countOutcomes(batch, all, telemetry, clock);
        throw error;
      }
      trace.end(outcomes);
      countOutcomes(batch, outcomes, telemetry, clock);
      return outcomes;
    },
  };
}

function countOutcomes(
  batch: readonly OutgoingMessage[],
  outcomes: readonly PublishOutcome[],
  telemetry: Telemetry,
  clock: Clock,
): void {
  const counts = new Map<string, number>();
  const now = clock.now();
  batch.forEach(({ createdAt, topic }, i) => {
    const outcome = outcomes[i]?.outcome ?? 'unknown';
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    if (outcome === 'confirmed' && createdAt !== undefined) telemetry.confirmedAfter(Math.max(0, now - createdAt), topic);
  });
  for (const [outcome, count] of counts) {
    if (outcome === 'confirmed') telemetry.count('pushed', count);
    else telemetry.count('failed', count, { outcome });
  }
}

/** The receiver, with a span per delivery that continues the trace of the message; what it does inside belongs to that span. */
export function tracedReceive(
  receive: (delivery: Delivery) => Promise<Receipt>,
  telemetry: Telemetry,
): (delivery: Delivery) => Promise<Receipt> {
  return async (delivery) => {
    const trace = telemetry.handling(delivery);
    try {
      const receipt = await trace.within(() => receive(delivery));
      telemetry.count(receipt === 'done' ? 'handled' : 'refused', 1);
      trace.end(receipt === 'done' ? undefined : new Error('could not be kept; comes again'));
      return receipt;
    } catch (error) {
      telemetry.count('refused', 1);
      trace.end(error);
      throw error;
    }
  };
}

/** What of a monitor's counts is measured. */
export interface CountedRows {
  readonly waiting: number;
  readonly delayed: number;
  readonly retrying: number;
  readonly dead: number;
  readonly oldestMs: number;
}

/** Measures the table behind a monitor whenever metrics are read: rows that wait, dead ones, the age of the oldest. Answers the end of it. */
export function observeOutbox(telemetry: Telemetry, monitor: { counts(): CountedRows | Promise<CountedRows> }): () => void {
  return telemetry.observe(async (): Promise<Observed> => {
    const { waiting, delayed, retrying, dead, oldestMs } = await monitor.counts();
    return { waiting: waiting + delayed + retrying, dead, oldestMs };
  });
}
