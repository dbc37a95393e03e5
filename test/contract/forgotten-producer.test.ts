/** The shipped client repeats a numbered send to a shipped broker that has forgotten it: nothing is stored twice and told as sent. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Wire } from '@tallystick/base';
import { Broker } from '@tallystick/broker';
import { Client, type SendError } from '@tallystick/client';
import { afterEach, describe, expect, it, vi } from 'vitest';

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A wire that swallows what comes in while it is told to. */
class DeafWire implements Wire {
  isDeaf = false;
  onBytes: Wire['onBytes'] = () => {};
  onDrain: Wire['onDrain'] = () => {};
  onClose: Wire['onClose'] = () => {};
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
    wire.onBytes = (chunk) => {
      if (!this.isDeaf) this.onBytes(chunk);
    };
    wire.onDrain = () => this.onDrain();
    wire.onClose = (reason) => this.onClose(reason);
  }

  get remote(): string {
    return this.#wire.remote;
  }

  write(chunk: Uint8Array): boolean {
    return this.#wire.write(chunk);
  }

  close(graceful: boolean): void {
    this.#wire.close(graceful);
  }

  pause(): void {
    this.#wire.pause();
  }

  resume(): void {
    this.#wire.resume();
  }
}

describe('a broker that has forgotten a producer', () => {
  it('gets no repetition under new numbers: the send ends as unknown', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'tallystick-forgotten-'));
    cleanups.push(() => rmSync(dataDir, { recursive: true, force: true }));
    const broker = new Broker({ dataDir, host: false, sequenceProducersMax: 1 });
    await broker.start();
    cleanups.push(() => broker.stop());
    const wires: DeafWire[] = [];
    const connect = (): Wire => {
      const wire = new DeafWire(broker.connect());
      wires.push(wire);
      return wire;
    };
    const client = new Client({ connect, onReport: () => {} });
    const other = new Client({ connect: () => broker.connect(), onReport: () => {} });
    cleanups.push(
      () => client.close(),
      () => other.close(),
    );
    const values = async (): Promise<string[]> => (await other.admin().readAll('t')).map(({ value }) => value.toString());

    const producer = client.producer({ idempotence: true });
    await producer.send({ topic: 't', value: 'a0', queueId: 0 });
    for (const wire of wires) wire.isDeaf = true;
    const paid = producer.send({ topic: 't', value: 'PAY', queueId: 0 }).then(
      () => 'sent',
      (error: SendError) => error.outcome,
    );
    await vi.waitFor(async () => expect(await values()).toEqual(['a0', 'PAY']), 40_000);
    await other.producer({ idempotence: true }).send({ topic: 't', value: 'other', queueId: 0 });
    for (const wire of wires) wire.close(false);
    expect(await paid).toBe('unknown');
    expect(await values()).toEqual(['a0', 'PAY', 'other']);
    await producer.send({ topic: 't', value: 'next', queueId: 0 });
    expect(await values()).toEqual(['a0', 'PAY', 'other', 'next']);
  });
});
