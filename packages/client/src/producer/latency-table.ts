/**
 * Which brokers were slow or busy lately, and until when records that may go anywhere leave them out: RocketMQ's latency table (its
 * fault strategy). Each answer overwrites what was known of its broker, so a broker that answers quickly again is used again at once.
 * A broker that refused (busy, no answer, connection lost) counts as one that took ten seconds.
 */

/** The answer took at least so long: the broker is left out for so long. */
const STEPS = [
  { latencyMs: 15_000, avoidMs: 30_000 },
  { latencyMs: 5000, avoidMs: 10_000 },
  { latencyMs: 3000, avoidMs: 6000 },
  { latencyMs: 1800, avoidMs: 5000 },
  { latencyMs: 550, avoidMs: 2000 },
  { latencyMs: 100, avoidMs: 0 },
  { latencyMs: 50, avoidMs: 0 },
] as const;
const QUICK_MS = 550;
const ISOLATED_LATENCY_MS = 10_000;

/** `refused`: it said that it is busy or has not stored it. `lost`: no answer. */
export type BrokerOutcome = 'answered' | 'refused' | 'lost';

export class LatencyTable {
  /** Brokers once left out: monotonic ms from which they are used again. */
  readonly #untilMs = new Map<string, number>();

  answered(brokerName: string, latencyMs: number, outcome: BrokerOutcome, nowMs: number): void {
    const isFine = outcome === 'answered' && latencyMs < QUICK_MS;
    if (isFine && this.#untilMs.size === 0) return;
    const avoidMs = isFine ? 0 : avoidanceMs(outcome === 'answered' ? latencyMs : Math.max(latencyMs, ISOLATED_LATENCY_MS));
    if (avoidMs === 0) this.#untilMs.delete(brokerName);
    else this.#untilMs.set(brokerName, nowMs + avoidMs);
  }

  isAvoided(brokerName: string, nowMs: number): boolean {
    if (this.#untilMs.size === 0) return false;
    const untilMs = this.#untilMs.get(brokerName);
    return untilMs !== undefined && untilMs > nowMs;
  }

  /** Brokers left out now, and for how much longer. */
  avoided(nowMs: number): { readonly brokerName: string; readonly forMs: number }[] {
    const rows = [...this.#untilMs].map(([brokerName, untilMs]) => ({ brokerName, forMs: untilMs - nowMs }));
    return rows.filter(({ forMs }) => forMs > 0);
  }
}

/** How long a broker is left out after an answer that took `latencyMs`. */
export function avoidanceMs(latencyMs: number): number {
  return STEPS.find((step) => latencyMs >= step.latencyMs)?.avoidMs ?? 0;
}
