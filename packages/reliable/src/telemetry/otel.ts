/**
 * Telemetry through OpenTelemetry's API package, which is handed in (`otel(api)` with `import * as api from '@opentelemetry/api'`), so this
 * package depends on no version of it. Spans and names follow the semantic conventions for messaging: `create <topic>` where a message is
 * added, `send <topic>` for a batch on its way to the broker (linked to the messages it carries), `process <topic>` where one is handled, as a
 * child of its making. The context travels in the W3C headers `traceparent` and `tracestate`, also where no propagator is set up.
 */
import type { Delivery, OutgoingMessage, PublishOutcome } from '../transports/transport.ts';
import type { AddTrace, CounterName, HandleTrace, Observed, PublishTrace, Telemetry } from './telemetry.ts';

/* eslint-disable @typescript-eslint/no-explicit-any -- the API's own types, of whatever version, must fit */
/** What of `@opentelemetry/api` (1.x) is used. */
export interface OtelApi {
  readonly trace: {
    getTracer(name: string): { startSpan(name: string, options?: any, context?: any): OtelSpan };
    setSpan(context: any, span: any): any;
    setSpanContext(context: any, spanContext: any): any;
    getSpanContext(context: any): OtelSpanContext | undefined;
  };
  readonly context: { active(): any; with<T>(context: any, work: () => T): any };
  readonly propagation: { inject(context: any, carrier: any): void; extract(context: any, carrier: any): any };
  readonly metrics: { getMeter(name: string): OtelMeter };
  readonly ROOT_CONTEXT: any;
}

interface OtelSpan {
  spanContext(): OtelSpanContext;
  setAttribute(name: string, value: any): any;
  recordException(error: any): void;
  setStatus(status: any): any;
  end(): void;
}

interface OtelSpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly traceState?: { serialize(): string } | undefined;
}

interface OtelMeter {
  createCounter(name: string, options?: any): { add(by: number, attributes?: any): void };
  createHistogram(name: string, options?: any): { record(value: number, attributes?: any): void };
  createObservableGauge(name: string, options?: any): any;
  addBatchObservableCallback(look: (result: any) => any, gauges: any[]): void;
  removeBatchObservableCallback(look: (result: any) => any, gauges: any[]): void;
}
/* eslint-enable @typescript-eslint/no-explicit-any */

export interface OtelOptions {
  /** `messaging.system` of the spans. Default `tallystick`. */
  readonly system?: string | undefined;
}

/** Spans and metrics through the API package that is handed in. */
export function otel(api: OtelApi, options: OtelOptions = {}): Telemetry {
  return new OtelTelemetry(api, options.system ?? 'tallystick');
}

const NAME = '@tallystick/reliable';
/** Of `SpanKind` and `SpanStatusCode`: their numbers are part of the API. */
const PRODUCER = 3;
const CONSUMER = 4;
const CLIENT = 2;
const ERROR = 2;
/** Most links of a batch's span: what the SDK keeps by default. */
const LINKS_MAX = 128;

const COUNTERS: Readonly<Record<CounterName, string>> = {
  added: 'Messages written into a transaction.',
  pushed: 'Messages that the broker confirmed.',
  failed: 'Pushes of a message that came back without a confirmation, by outcome.',
  dead: 'Messages given up; a person decides.',
  lost: 'Volatile messages lost.',
  confirmed: 'Messages that their consumer confirmed.',
  handled: 'Deliveries that were handled, or kept to be tried again.',
  refused: 'Deliveries that could not even be kept and come again.',
};

class OtelTelemetry implements Telemetry {
  readonly #api: OtelApi;
  readonly #system: string;
  readonly #tracer: ReturnType<OtelApi['trace']['getTracer']>;
  readonly #meter: OtelMeter;
  readonly #counters: Readonly<Record<string, ReturnType<OtelMeter['createCounter']>>>;
  readonly #duration: ReturnType<OtelMeter['createHistogram']>;

  constructor(api: OtelApi, system: string) {
    this.#api = api;
    this.#system = system;
    this.#tracer = api.trace.getTracer(NAME);
    this.#meter = api.metrics.getMeter(NAME);
    this.#counters = Object.fromEntries(
      Object.entries(COUNTERS).map(([name, description]) => [
        name,
        this.#meter.createCounter(`tallystick.messages.${name}`, { description, unit: '{message}' }),
      ]),
    );
    this.#duration = this.#meter.createHistogram('tallystick.messages.confirm_duration', {
      description: 'From a message’s writing to its confirmation by the broker.',
      unit: 's',
    });
  }

  adding(message: OutgoingMessage): AddTrace {
    const { context } = this.#api;
    const span = this.#tracer.startSpan(
      `create ${message.topic}`,
      { kind: PRODUCER, attributes: this.#attributes('create', message) },
      context.active(),
    );
    const headers = new Map(message.headers);
    // What the application has put there itself is its own business.
    if (!headers.has('traceparent')) {
      for (const [name, value] of this.#injected(span)) if (!headers.has(name)) headers.set(name, value);
    }
    return { headers, end: (error) => ended(span, error) };
  }

  publishing(batch: readonly OutgoingMessage[]): PublishTrace {
    const { ROOT_CONTEXT } = this.#api;
    const links = batch
      .slice(0, LINKS_MAX)
      .map(({ headers }) => this.#api.trace.getSpanContext(this.#extracted(headers ?? NO_HEADERS)))
      .flatMap((context) => (context === undefined ? [] : [{ context }]));
    const topics = new Set(batch.map(({ topic }) => topic));
    const [topic] = topics;
    const name = topics.size === 1 ? `send ${topic}` : 'send';
    const attributes = {
      'messaging.system': this.#system,
      'messaging.operation.type': 'send',
      'messaging.batch.message_count': batch.length,
      ...(topics.size === 1 ? { 'messaging.destination.name': topic } : {}),
    };
    const span = this.#tracer.startSpan(name, { kind: CLIENT, attributes, links }, ROOT_CONTEXT);
    return {
      end: (outcomes: readonly PublishOutcome[]) => {
        const failed = outcomes.find(({ outcome }) => outcome !== 'confirmed');
        if (failed !== undefined) {
          span.setAttribute('error.type', failed.outcome);
          span.setStatus({ code: ERROR, message: failed.reason ?? failed.outcome });
        }
        span.end();
      },
    };
  }

  handling(delivery: Delivery): HandleTrace {
    const { context, trace } = this.#api;
    const from = this.#extracted(delivery.headers);
    const attributes = this.#attributes('process', delivery);
    const span = this.#tracer.startSpan(`process ${delivery.topic}`, { kind: CONSUMER, attributes }, from);
    const inside = trace.setSpan(from, span) as unknown;
    return {
      within: <T>(work: () => T) => context.with(inside, work) as T,
      end: (error) => ended(span, error),
    };
  }

  count(name: CounterName, by: number, attributes?: Readonly<Record<string, string>>): void {
    this.#counters[name]!.add(by, attributes);
  }

  confirmedAfter(ms: number, topic: string): void {
    this.#duration.record(ms / 1000, { 'messaging.destination.name': topic });
  }

  observe(look: () => Promise<Observed>): () => void {
    const gauge = (name: string, description: string, unit: string): unknown =>
      this.#meter.createObservableGauge(`tallystick.outbox.${name}`, { description, unit });
    const waiting = gauge('waiting', 'Messages that wait to be pushed.', '{message}');
    const dead = gauge('dead', 'Messages that were given up and wait for a person.', '{message}');
    const oldest = gauge('oldest_age', 'Age of the oldest message that waits.', 's');
    const gauges = [waiting, dead, oldest];
    const observe = async (result: { observe(gauge: unknown, value: number): void }): Promise<void> => {
      const seen = await look();
      result.observe(waiting, seen.waiting);
      result.observe(dead, seen.dead);
      result.observe(oldest, seen.oldestMs / 1000);
    };
    this.#meter.addBatchObservableCallback(observe, gauges);
    return () => this.#meter.removeBatchObservableCallback(observe, gauges);
  }

  #attributes(operation: string, { id, topic, key }: Pick<OutgoingMessage, 'id' | 'topic' | 'key'>): Record<string, unknown> {
    return {
      'messaging.system': this.#system,
      'messaging.operation.type': operation,
      'messaging.destination.name': topic,
      'messaging.message.id': id,
      ...(key === undefined ? {} : { 'tallystick.message.key': key }),
    };
  }

  /** By the propagator that the application has set up; by hand where there is none. */
  #injected(span: OtelSpan): [string, string][] {
    const { context, trace, propagation } = this.#api;
    const carrier: Record<string, unknown> = {};
    propagation.inject(trace.setSpan(context.active(), span), carrier);
    const { traceId, spanId, traceFlags, traceState } = span.spanContext();
    if (Object.keys(carrier).length === 0 && !/^0+$/.test(traceId)) {
      carrier['traceparent'] = `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`;
      const state = traceState?.serialize() ?? '';
      if (state !== '') carrier['tracestate'] = state;
    }
    return Object.entries(carrier).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : []));
  }

  #extracted(headers: ReadonlyMap<string, string>): unknown {
    const { ROOT_CONTEXT, trace, propagation } = this.#api;
    const context: unknown = propagation.extract(ROOT_CONTEXT, Object.fromEntries(headers));
    if (trace.getSpanContext(context) !== undefined) return context;
    const parent = TRACEPARENT.exec(headers.get('traceparent') ?? '');
    if (parent === null || /^0+$/.test(parent[1]!) || /^0+$/.test(parent[2]!)) return context;
    const spanContext = { traceId: parent[1]!, spanId: parent[2]!, traceFlags: parseInt(parent[3]!, 16), isRemote: true };
    return trace.setSpanContext(context, spanContext);
  }
}

const NO_HEADERS: ReadonlyMap<string, string> = new Map();
/** Version 00, and later ones as far as they look alike. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;

function ended(span: OtelSpan, error: unknown): void {
  if (error !== undefined) {
    span.recordException(error);
    span.setStatus({ code: ERROR, message: (error as { message?: unknown } | null)?.message ?? 'failed' });
  }
  span.end();
}
