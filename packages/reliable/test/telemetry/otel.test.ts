/** The real OpenTelemetry SDK around the package: spans, the context in the headers, metrics. */
import * as api from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  createInbox,
  createMonitor,
  createOutbox,
  createRelay,
  memoryBroker,
  observeOutbox,
  otel,
  tracedReceive,
  tracedTransport,
  type Delivery,
  type OutgoingMessage,
} from '../../src/index.ts';
import { openRaw } from '../support/backends.ts';
import { MemoryTransport } from '../support/memory-transport.ts';
import { failure, migrated } from '../support/outbox.ts';

const spans = new InMemorySpanExporter();
let metrics: InMemoryMetricExporter;
let reader: PeriodicExportingMetricReader;

beforeEach(() => {
  metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 1 << 30 });
  api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  api.trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }));
  api.metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
});

afterEach(async () => {
  await reader.shutdown();
  spans.reset();
  api.trace.disable();
  api.context.disable();
  api.metrics.disable();
  api.propagation.disable();
});

function traced() {
  const { raw, path } = migrated();
  const time = new ManualTime();
  const telemetry = otel(api);
  const outbox = createOutbox(raw, {
    durability: 'trust',
    telemetry,
    clock: time,
    timers: time,
    turn: time,
    random: seededRandom(1),
  });
  const add = (headers?: Record<string, string>): OutgoingMessage => {
    const id = outbox.transaction((tx) => outbox.in(tx).add({ topic: 'orders', key: 'k', body: 'b', headers }));
    const row = raw.prepare('select headers from tallystick_outbox_body where id = ?').all([id])[0] as { headers: string };
    return {
      id,
      topic: 'orders',
      key: 'k',
      body: Buffer.from('b'),
      headers: new Map(JSON.parse(row.headers) as [string, string][]),
      createdAt: time.now(),
    };
  };
  return { raw, path, time, telemetry, outbox, add };
}

const finished = (): ReadableSpan[] => spans.getFinishedSpans();

function deliveryOf({ id, topic, key, headers, body }: OutgoingMessage): Delivery {
  return { id, topic, key, headers: headers ?? new Map(), body, redelivered: false };
}

describe.each([
  ['the W3C propagator', () => void api.propagation.setGlobalPropagator(new W3CTraceContextPropagator())],
  ['no propagator at all', () => undefined],
])('with %s', (_name, setUp) => {
  test('a message is made, sent and handled in one trace that begins where it was added', async () => {
    setUp();
    const { telemetry, add } = traced();
    const tracer = api.trace.getTracer('application');
    const message = tracer.startActiveSpan('POST /orders', (request) => {
      const added = add();
      request.end();
      return added;
    });
    await tracedTransport(new MemoryTransport(), telemetry).publish([message]);
    await tracedReceive(async () => {
      tracer.startSpan('debit').end();
      await Promise.resolve();
      tracer.startSpan('notify').end();
      return 'done';
    }, telemetry)(deliveryOf(message));

    const byName = new Map(finished().map((span) => [span.name, span]));
    const create = byName.get('create orders')!;
    const request = byName.get('POST /orders')!;
    expect(create.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
    expect(message.headers!.get('traceparent')).toBe(`00-${create.spanContext().traceId}-${create.spanContext().spanId}-01`);
    expect(create.attributes).toMatchObject({ 'messaging.destination.name': 'orders', 'messaging.message.id': message.id });
    expect(byName.get('send orders')!.links.map(({ context }) => context.spanId)).toEqual([create.spanContext().spanId]);
    const handled = byName.get('process orders')!;
    expect([handled.kind, handled.parentSpanContext?.spanId]).toEqual([api.SpanKind.CONSUMER, create.spanContext().spanId]);
    for (const inside of ['debit', 'notify'])
      expect(byName.get(inside)!.parentSpanContext?.spanId).toBe(handled.spanContext().spanId);
    expect(
      new Set([...byName.values()].filter(({ name }) => name !== 'send orders').map((span) => span.spanContext().traceId)).size,
    ).toBe(1);
  });

  test('a trace that the application has put into the headers itself is left alone', () => {
    setUp();
    const { add } = traced();
    const own = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    expect(add({ traceparent: own }).headers!.get('traceparent')).toBe(own);
  });

  test('so is what else of it the application has put there', () => {
    setUp();
    const { add } = traced();
    const headers = add({ tracestate: 'mine=1' }).headers!;
    expect(headers.get('tracestate')).toBe('mine=1');
  });

  test('headers that are no trace context begin a trace of their own', async () => {
    setUp();
    const { telemetry, add } = traced();
    const message = add();
    for (const wrong of [
      '',
      'nonsense',
      `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
      `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`,
    ]) {
      spans.reset();
      const delivery = { ...deliveryOf(message), headers: new Map([['traceparent', wrong]]) };
      expect(await tracedReceive(() => Promise.resolve('done'), telemetry)(delivery)).toBe('done');
      expect(finished()[0]!.parentSpanContext).toBeUndefined();
    }
  });
});

test('an add that is refused ends its span with the error', async () => {
  const { raw, outbox } = traced();
  expect((await failure(() => outbox.in(raw).add({ topic: 'orders', body: 'b' }))).code).toBe('NOT_IN_TRANSACTION');
  expect(finished()).toMatchObject([{ name: 'create orders', status: { code: api.SpanStatusCode.ERROR } }]);
});

test('a batch that is not confirmed is an error of its span, with the first outcome that was none', async () => {
  const { telemetry, add } = traced();
  const broker = new MemoryTransport();
  const messages = [add(), add(), add()];
  broker.answer = ({ id }) => (id === messages[1]!.id ? { outcome: 'unroutable', reason: 'no queue' } : 'confirmed');
  spans.reset();
  await tracedTransport(broker, telemetry).publish(messages);
  expect(finished()).toMatchObject([
    {
      name: 'send orders',
      status: { code: api.SpanStatusCode.ERROR, message: 'no queue' },
      attributes: { 'error.type': 'unroutable' },
    },
  ]);
  broker.before = () => {
    throw new Error('gone');
  };
  expect((await failure(() => tracedTransport(broker, telemetry).publish(messages))).message).toBe('gone');
  expect(finished()[1]).toMatchObject({ attributes: { 'error.type': 'unknown' } });
});

test('metrics: what was added, pushed and failed, how long it took, what waits and for how long', async () => {
  const { raw, time, telemetry, add } = traced();
  const stop = observeOutbox(telemetry, createMonitor(raw, { clock: time }));
  const messages = [add(), add(), add()];
  const broker = new MemoryTransport();
  broker.answer = ({ id }) => (id === messages[2]!.id ? 'rejected' : 'confirmed');
  time.advance(1_500);
  await tracedTransport(broker, telemetry, time).publish(messages);
  await tracedReceive(() => Promise.resolve('again'), telemetry)(deliveryOf(messages[0]!));
  const seen = await collected();
  expect(seen.get('tallystick.messages.added')).toBe(3);
  expect(seen.get('tallystick.messages.pushed')).toBe(2);
  expect(seen.get('tallystick.messages.failed')).toBe(1);
  expect(seen.get('tallystick.messages.refused')).toBe(1);
  expect(seen.get('tallystick.messages.confirm_duration')).toMatchObject({ count: 2, sum: 3 });
  expect(seen.get('tallystick.outbox.waiting')).toBe(3);
  expect(seen.get('tallystick.outbox.dead')).toBe(0);
  expect(seen.get('tallystick.outbox.oldest_age')).toBe(1.5);
  stop();
  raw.exec('drop table tallystick_outbox');
  await reader.forceFlush();
});

async function collected(): Promise<Map<string, unknown>> {
  await reader.forceFlush();
  const all = metrics
    .getMetrics()
    .at(-1)!
    .scopeMetrics.flatMap(({ metrics: of }) => of);
  return new Map(all.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints[0]!.value]));
}

test('outbox, relay and inbox with telemetry: one trace from the request to the effect, and on to what the handler sends', async () => {
  const { path, telemetry, add } = traced();
  const broker = memoryBroker();
  const { raw: wallet } = migrated();
  const replies = createOutbox(wallet, { durability: 'trust', telemetry });
  const inbox = createInbox(wallet, { consumer: 'wallet', durability: 'trust', telemetry, outbox: replies });
  inbox.handle('*', (_delivery, { emit }) => void emit({ topic: 'paid', body: 'p' }));
  const subscription = await broker.subscribe('orders', inbox.receive);
  add();
  const relay = createRelay({ db: openRaw(path), transport: broker, telemetry });
  await relay.drain();
  await expect.poll(() => finished().map(({ name }) => name), { timeout: 40_000 }).toContain('process orders');
  await subscription.stop();
  await relay.stop();
  const byName = new Map(finished().map((span) => [span.name, span]));
  const parentOf = (name: string): string | undefined => byName.get(name)!.parentSpanContext?.spanId;
  expect(parentOf('process orders')).toBe(byName.get('create orders')!.spanContext().spanId);
  expect(parentOf('create paid')).toBe(byName.get('process orders')!.spanContext().spanId);
  expect(byName.get('send orders')!.links).toHaveLength(1);
  const seen = await collected();
  expect([seen.get('tallystick.messages.pushed'), seen.get('tallystick.messages.handled')]).toEqual([1, 1]);
});

test('without telemetry nothing is put into the headers', () => {
  const { raw } = migrated();
  const outbox = createOutbox(raw, { durability: 'trust' });
  outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body: 'b' }));
  expect(raw.prepare('select headers from tallystick_outbox_body').all([])).toEqual([expect.objectContaining({ headers: null })]);
});
