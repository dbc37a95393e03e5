/**
 * What SIGKILL from outside costs a real broker process with real clients: nothing of what a plain asynchronous store has
 * acknowledged, and with a transient store pool what lay in its buffers. The pool's clock is set so slow that it does not strike
 * between the last acknowledgement and the kill, however slow the machine is.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GivenBrokerOptions } from '@tallystick/broker';
import { systemTimers, tcpDialer } from '@tallystick/base/node';
import { Client } from '@tallystick/client';
import { Probe, readQueue } from '../checkers/probe.ts';

const child = fileURLToPath(new URL('pool-child.ts', import.meta.url));
const sources = fileURLToPath(new URL('../../packages/cli/bin/sources.js', import.meta.url));
const PLAIN: GivenBrokerOptions = { flush: 'async', autoCreateTopics: true };
const POOLED: GivenBrokerOptions = { ...PLAIN, transientStorePoolEnable: true, commitIntervalCommitLog: 60_000 };
const BURST = 20;

let folder: string;
let broker: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tallystick-pool-'));
});

afterEach(async () => {
  if (broker !== undefined) await kill(broker);
  rmSync(folder, { recursive: true, force: true });
});

async function start(options: GivenBrokerOptions): Promise<string> {
  const started = spawn(process.execPath, ['--import', sources, child, folder, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  broker = started;
  let printed = '';
  for await (const chunk of started.stdout) {
    printed += String(chunk);
    const address = /ready on (\S+)/.exec(printed)?.[1];
    if (address !== undefined) return address;
  }
  throw new Error(`the broker ended before it was ready: ${printed}`);
}

async function kill(running: ChildProcess): Promise<void> {
  if (running.exitCode !== null || running.signalCode !== null) return;
  const ended = once(running, 'exit');
  running.kill('SIGKILL');
  await ended;
}

function clientOf(address: string): Client {
  return new Client({ address, onReport: () => {} });
}

/** Sends a burst to queue 0, waits for every acknowledgement, kills the broker. Gives what `between` gave before the kill. */
async function burstAndKill<T>(options: GivenBrokerOptions, between: (client: Client) => Promise<T>): Promise<T> {
  const client = clientOf(await start(options));
  const producer = client.producer();
  const sends = Array.from({ length: BURST }, (_, n) => producer.send({ topic: 'orders', queueId: 0, value: `message ${n}` }));
  const receipts = await Promise.all(sends);
  expect(receipts.map(({ offset }) => offset)).toEqual([...Array(BURST).keys()]);
  const result = await between(client);
  await kill(broker!);
  await producer.close({ timeoutMs: 0 }).catch(() => {});
  await client.close();
  return result;
}

/** Starts the broker again and counts what queue 0 of a topic holds. */
async function countAfterRestart(options: GivenBrokerOptions, topic = 'orders'): Promise<number> {
  const probe = new Probe(tcpDialer(), systemTimers(), await start(options), 10_000);
  const read = await new Promise<number>((resolve) => readQueue(probe, topic, 0, (found) => resolve(found?.records.length ?? 0)));
  probe.close();
  return read;
}

describe('a broker process that is killed', () => {
  it('has lost nothing of what it acknowledged in plain asynchronous mode', async () => {
    await burstAndKill(PLAIN, () => Promise.resolve());
    expect(await countAfterRestart(PLAIN)).toBe(BURST);
  });

  it('has lost acknowledged messages that lay in the transient store pool', async () => {
    await burstAndKill(POOLED, () => Promise.resolve());
    expect(await countAfterRestart(PLAIN)).toBeLessThan(BURST);
  });

  it('keeps a confirmed half message in spite of the pool, its commit, and all that came before them', async () => {
    await burstAndKill(POOLED, async (client) => {
      const bank = client.transactionProducer({ group: 'banks', listener: { check: () => 'unknown' } });
      await bank.start();
      const half = await bank.half({ topic: 'orders', queueId: 0, value: 'transfer' });
      await half.commit({ confirmed: true });
      await bank.close({ timeoutMs: 0 });
    });
    expect(await countAfterRestart(PLAIN)).toBe(BURST + 1);
  });

  it('keeps everything that was gathered when it is told to end', async () => {
    const client = clientOf(await start(POOLED));
    const producer = client.producer();
    await producer.send({ topic: 'orders', queueId: 0, value: 'one' });
    await client.close();
    const ended = once(broker!, 'exit');
    broker!.kill('SIGTERM');
    await ended;
    expect(await countAfterRestart(PLAIN)).toBe(1);
  });
});
