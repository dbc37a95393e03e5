/** One broker under one load: what every case of the overload run is made of. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GivenBrokerOptions } from '@tallystick/broker';
import type { BrokerConfig, BrokerReport } from './broker-child.ts';
import { Child } from './children.ts';
import type { ClientConfig, ClientPhase, ClientResult } from './client-child.ts';
import type { Answer } from './frame-heads.ts';
import type { FloodConfig, FloodResult, Phase, Retries } from './flood.ts';
import type { ProberConfig, ProberResult } from './prober-child.ts';
import type { Verdict } from './read-back.ts';
import { FAST_DISK, type DiskMood } from './slow-disk.ts';

/** What a message of 100 bytes takes on the disk, its share of group headers included; see `bytesPerMessage` in the results. */
export const RECORD_BYTES = 240;

/** A device of so many messages per second; its cache holds 12 ms of them, enough for timers that come a few ms late. */
export function deviceOf(messagesPerSecond: number): DiskMood {
  const bytesPerSecond = messagesPerSecond * RECORD_BYTES;
  return { ...FAST_DISK, bytesPerSecond, cacheBytes: Math.round(bytesPerSecond * 0.012), syncMs: 2 };
}

export class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'tallystick-overload-'));
  readonly #children: Child[] = [];

  async broker(disk: DiskMood, options: GivenBrokerOptions, name = 'data'): Promise<Child> {
    const config: BrokerConfig = { folder: join(this.folder, name), port: 0, disk, options };
    return this.#add(await Child.start('./broker-child.ts', config));
  }

  async flood(broker: Child, given: Partial<FloodConfig> = {}): Promise<Child> {
    const config: FloodConfig = {
      port: broker.ready as number,
      topic: 'flood',
      connections: 16,
      bodyBytes: 100,
      capacity: 16_000_000,
      ...given,
    };
    return this.#add(await Child.start('./flood-child.ts', config));
  }

  async prober(broker: Child, seconds: number): Promise<Child> {
    const everyMs = 20;
    const config: ProberConfig = { port: broker.ready as number, halves: Math.ceil((seconds * 1000) / everyMs), everyMs };
    return this.#add(await Child.start('./prober-child.ts', config));
  }

  /** Our own client, over several brokers. */
  async client(brokers: ClientConfig['brokers'], producer: ClientConfig['producer'] = {}): Promise<Child> {
    const config: ClientConfig = { brokers, topic: 'orders', queues: 4, bodyBytes: 100, producer };
    return this.#add(await Child.start('./client-child.ts', config));
  }

  /** Ends every process and removes the files. */
  async clear(): Promise<void> {
    for (const child of this.#children.reverse()) await child.end();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #add(child: Child): Child {
    this.#children.push(child);
    return child;
  }
}

/** Highest rate at which the broker acknowledges when nobody sends more than it answers. */
export async function peakOf(flood: Child, seconds: number, inFlight: number): Promise<FloodResult> {
  // The first seconds of a process are slow: they do not count.
  await run(flood, [{ seconds: Math.min(2, seconds), inFlight }]);
  return run(flood, [{ seconds, inFlight }]);
}

/** Waits for answers for up to 10 s more; of senders that repeat, which never end by themselves, for 1 s. */
export function run(flood: Child, phases: readonly Phase[], retries?: Retries): Promise<FloodResult> {
  return flood.ask<FloodResult>({ do: 'run', phases, drainMs: retries === undefined ? 10_000 : 1000, retries });
}

/** Our own client, sending as scheduled. */
export function use(client: Child, phases: readonly ClientPhase[]): Promise<ClientResult> {
  return client.ask<ClientResult>({ do: 'run', phases });
}

export function report(broker: Child): Promise<BrokerReport> {
  return broker.ask<BrokerReport>({ do: 'report' });
}

/** A transient store pool shows its messages once they are written, which a slow disk takes its time for. */
export async function settled(broker: Child): Promise<void> {
  await pause(300);
  while ((await report(broker)).pendingBytes > 0) await pause(100);
}

/** `from`: the broker that has the store now, when it was started again. */
export function readBack(flood: Child, from?: Child): Promise<Verdict> {
  return flood.ask<Verdict>({ do: 'readBack', port: from?.ready });
}

/** The broker's counters of busy answers, by what is on the wire. */
export function busyCounters(counters: BrokerReport['counters']): Partial<Record<Answer, number>> {
  const sum = (...names: string[]): number => names.reduce((total, name) => total + Number(counters[name] ?? 0), 0);
  return {
    'reject-request': sum('busyPageCache', 'busyNoBuffer'),
    overload: sum('busyQueueCount', 'busyQueueBytes', 'busyMemory', 'busyStore', 'busyHalves'),
    'pc-synchronized': sum('busyAtPut'),
    'pcbusy-clean-queue': sum('busyCleanedPageCache'),
    'timeout-clean-queue': sum('busyCleanedTimeout'),
  };
}

export async function probed<T>(
  prober: Child,
  work: () => Promise<T>,
): Promise<{ readonly value: T; readonly probe: ProberResult }> {
  await prober.ask({ do: 'start' });
  const value = await work();
  return { value, probe: await prober.ask<ProberResult>({ do: 'stop', waitMs: 10_000 }) };
}

/**
 * Seconds after a load until the broker serves a light one as if nothing had been: the first second of which every message is
 * acknowledged, 99 of 100 within 100 ms. Undefined when that does not come about in `limit` seconds.
 */
export async function recovery(flood: Child, rate: number, limit: number): Promise<number | undefined> {
  const startMs = performance.now();
  while (performance.now() < startMs + limit * 1000) {
    const beganMs = performance.now();
    const light = await run(flood, [{ seconds: 0.5, rate }]);
    if (light.answers.ok === light.due && light.latency.p99Ms < 100) return Number(((beganMs - startMs) / 1000).toFixed(1));
  }
  return undefined;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
