/**
 * Our own client as its users have it, sending at a fixed schedule over one or more brokers, and in the end reading everything back. Each
 * message's verdict is kept as the client gave it: stored, not stored, or not known; the reading shows whether it spoke the truth.
 */
import { Client, type GivenProducerOptions } from '@tallystick/client';
import { RequestCode } from '@tallystick/remoting';
import { configOf, serve } from './children.ts';
import { Histogram, type Spread } from './histogram.ts';
import { serveRoutes } from './name-server.ts';
import { ask, dial, pull } from './read-back.ts';

export interface ClientConfig {
  readonly brokers: readonly { readonly brokerName: string; readonly port: number }[];
  readonly topic: string;
  readonly queues: number;
  readonly bodyBytes: number;
  readonly producer: GivenProducerOptions;
}

export interface ClientPhase {
  /** Messages per second. */
  readonly rate: number;
  readonly seconds: number;
}

export interface ClientResult {
  readonly due: number;
  /** Acknowledged per second, and of these within a second of their time. */
  readonly goodput: number;
  readonly timely: number;
  readonly stored: number;
  /** By broker name. */
  readonly storedAt: Readonly<Record<string, number>>;
  /** Errors as the caller saw them: `outcome code`. */
  readonly errors: Readonly<Record<string, number>>;
  readonly unknown: number;
  readonly latency: Spread;
  /** Of the messages that were due in each second: how many, and how many were acknowledged within a second. */
  readonly perSecond: readonly { readonly due: number; readonly timely: number }[];
}

export interface ClientVerdict {
  readonly read: number;
  readonly acknowledged: number;
  readonly unknownButStored: number;
  readonly problems: readonly string[];
}

const config = configOf<ClientConfig>();
for (const { port } of config.brokers) {
  const peer = await dial(port);
  const topic = {
    topic: config.topic,
    defaultTopic: 'TBW102',
    readQueueNums: config.queues,
    writeQueueNums: config.queues,
    perm: 6,
    topicFilterType: 'SINGLE_TAG',
    topicSysFlag: 0,
    order: false,
  };
  await ask(peer, RequestCode.UPDATE_AND_CREATE_TOPIC, topic, undefined, () => {});
  peer.close(true);
}
const address = await serveRoutes(
  config.brokers.map(({ brokerName, port }) => ({ brokerName, address: `127.0.0.1:${port}`, queues: config.queues })),
);
const client = new Client({ address, onReport: () => {} });
const producer = client.producer(config.producer);

/** Of each message: `broker/queue@offset` once it is acknowledged, else how it ended. */
const verdicts: (string | undefined)[] = [];
const UNKNOWN = 'unknown';
const REFUSED = 'refused';

async function run(phases: readonly ClientPhase[]): Promise<ClientResult> {
  const startMs = performance.now();
  const seconds = phases.reduce((sum, phase) => sum + phase.seconds, 0);
  const perSecond: { due: number; timely: number }[] = [];
  const first = verdicts.length;
  const latency = new Histogram();
  const storedAt: Record<string, number> = {};
  const errors: Record<string, number> = {};
  let due = 0;
  let open = 0;
  let stored = 0;
  let timely = 0;
  let unknown = 0;
  const send = (n: number, dueMs: number): void => {
    open++;
    const value = Buffer.alloc(config.bodyBytes, 'y');
    value.write(n.toString(16).padStart(8, '0'), 0, 'latin1');
    verdicts[n] = undefined;
    const second = (perSecond[Math.floor((dueMs - startMs) / 1000)] ??= { due: 0, timely: 0 });
    second.due++;
    producer.sendWith({ topic: config.topic, value }, (error, receipt) => {
      open--;
      const ms = performance.now() - dueMs;
      if (error === undefined) {
        stored++;
        latency.add(ms);
        if (ms <= 1000) {
          timely++;
          second.timely++;
        }
        storedAt[receipt.brokerName] = (storedAt[receipt.brokerName] ?? 0) + 1;
        verdicts[n] = `${receipt.brokerName}/${receipt.queueId}@${receipt.offset}`;
        return;
      }
      const name = `${error.outcome} ${error.code}`;
      errors[name] = (errors[name] ?? 0) + 1;
      if (error.outcome === 'unknown') unknown++;
      verdicts[n] = error.outcome === 'unknown' ? UNKNOWN : REFUSED;
    });
  };
  let phaseMs = startMs;
  for (const { rate, seconds: length } of phases) {
    const endMs = phaseMs + length * 1000;
    const before = due;
    while (performance.now() < endMs) {
      const wanted = before + Math.floor(((Math.min(performance.now(), endMs) - phaseMs) * rate) / 1000);
      for (; due < wanted; due++) send(first + due, phaseMs + ((due - before) * 1000) / rate);
      await pause(1);
    }
    phaseMs = endMs;
  }
  while (open > 0 && performance.now() < phaseMs + 60_000) await pause(10);
  return {
    due,
    goodput: Math.round(stored / seconds),
    timely: Math.round(timely / seconds),
    stored,
    storedAt,
    errors,
    unknown,
    latency: latency.summary(),
    perSecond: Array.from(perSecond, (each) => each ?? { due: 0, timely: 0 }),
  };
}

/** Reads what the brokers have now; `ports` because one that was started again has another. */
async function readBack(ports: readonly number[]): Promise<ClientVerdict> {
  const problems: string[] = [];
  const problem = (text: string): void => {
    if (problems.length < 20) problems.push(text);
  };
  const seen = new Uint8Array(verdicts.length);
  let read = 0;
  let unknownButStored = 0;
  for (const [at, { brokerName }] of config.brokers.entries()) {
    const peer = await dial(ports[at]!);
    for (let queueId = 0; queueId < config.queues; queueId++) {
      let next = 0;
      for (;;) {
        const body = await pull(peer, config.topic, queueId, next);
        if (body === undefined) break;
        for (let from = 0; from < body.length; from += body.readUInt32BE(from)) {
          const offset = Number(body.readBigUInt64BE(from + 20));
          const n = Number.parseInt(body.toString('latin1', from + 88, from + 96), 16);
          const where = `message ${n} at ${brokerName}/${queueId}@${offset}`;
          if (offset !== next) problem(`${where}: ${next} was due`);
          if (!(n < verdicts.length)) problem(`${where}: never sent`);
          else {
            if (seen[n]! > 0) problem(`${where}: a second time`);
            if (verdicts[n] === REFUSED) problem(`${where}: its sender was told that it is not stored`);
            else if (verdicts[n] === UNKNOWN || verdicts[n] === undefined) unknownButStored++;
            else if (verdicts[n] !== `${brokerName}/${queueId}@${offset}`) problem(`${where}: acknowledged at ${verdicts[n]}`);
            seen[n]!++;
          }
          read++;
          next = offset + 1;
        }
      }
    }
    peer.close(true);
  }
  let acknowledged = 0;
  verdicts.forEach((verdict, n) => {
    if (verdict === UNKNOWN || verdict === REFUSED) return;
    if (verdict === undefined) return problem(`message ${n}: its sender was never told`);
    acknowledged++;
    if (seen[n] === 0) problem(`message ${n}, acknowledged at ${verdict}, is not there`);
  });
  return { read, acknowledged, unknownButStored, problems };
}

serve({
  run: ({ phases }: { phases: readonly ClientPhase[] }) => run(phases),
  readBack: ({ ports }: { ports: readonly number[] }) => readBack(ports),
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
