/**
 * What this package tells about its own work, as the smallest interface that needs: nothing is measured or traced unless one is handed
 * in. `otel(api)` makes one of OpenTelemetry's API package; any other system can be put behind the same five members.
 */
import type { Delivery, OutgoingMessage, PublishOutcome } from '../transports/transport.ts';

/** Work under way; `end` is called once. */
export interface Trace {
  /** `error` is what made it fail. */
  end(error?: unknown): void;
}

export interface AddTrace extends Trace {
  /** The message's headers with the trace context (`traceparent`, `tracestate`) of its making. */
  readonly headers: ReadonlyMap<string, string>;
}

export interface PublishTrace {
  end(outcomes: readonly PublishOutcome[]): void;
}

export interface HandleTrace extends Trace {
  /** Runs `work` as part of the trace that the message belongs to. */
  within<T>(work: () => T): T;
}

/** Names of the counters; all grow only. */
export type CounterName = 'added' | 'pushed' | 'failed' | 'dead' | 'lost' | 'confirmed' | 'handled' | 'refused';

/** What is measured when somebody looks: rows that wait, and the age of the oldest. */
export interface Observed {
  readonly waiting: number;
  readonly dead: number;
  readonly oldestMs: number;
}

export interface Telemetry {
  adding(message: OutgoingMessage): AddTrace;
  publishing(batch: readonly OutgoingMessage[]): PublishTrace;
  handling(delivery: Delivery): HandleTrace;
  count(name: CounterName, by: number, attributes?: Readonly<Record<string, string>>): void;
  /** How long a settled message took, from `add` to its confirmation. */
  confirmedAfter(ms: number, topic: string): void;
  /** Looks when the reader of metrics asks; answers the end of looking. */
  observe(look: () => Promise<Observed>): () => void;
}
