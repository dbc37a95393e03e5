/**
 * Real clients that never stop: plain sends one by one and in bursts, half messages of which some verdicts are left to the
 * check-back, and a push consumer. They reconnect by themselves while the broker dies and comes back; everything goes into the history.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { Client } from '@tallystick/client';
import type { Prng } from '../sim/prng.ts';
import type { History } from './history.ts';

export const TOPIC = 'orders';
export const GROUP = 'ledgers';
export const QUEUES = 4;
const SENDERS = 24;
const BANKS = 6;
const PAUSE_MS = 2;

export class Load {
  /** Sends and halves without an answer. */
  unanswered = 0;
  confirmed = 0;
  unknown = 0;
  halves = 0;
  checkBacks = 0;
  consumed = 0;
  #running = true;
  readonly #client: Client;
  readonly #history: History;
  readonly #random: Prng;
  readonly #truths = new Map<string, 'commit' | 'rollback'>();
  /** Halves that were acknowledged and are to be seen in the end. */
  readonly committed = new Set<string>();
  readonly #stops: (() => Promise<void>)[] = [];
  #loops: Promise<void>[] = [];

  constructor(address: string, history: History, random: Prng) {
    this.#client = new Client({
      address,
      reconnectFirstMs: 10,
      reconnectMaxMs: 50,
      requestTimeoutMs: 2000,
      heartbeatIntervalMs: 500,
      routeRetryMs: 20,
      startTimeoutMs: 600_000,
      onReport: () => {},
    });
    this.#history = history;
    this.#random = random;
  }

  async start(): Promise<void> {
    const producer = this.#client.producer({
      requestTimeoutMs: 2000,
      deliveryTimeoutMs: 4000,
      maxBlockMs: 4000,
      retryBackoffMs: 5,
    });
    const bank = this.#client.transactionProducer({
      group: 'banks',
      requestTimeoutMs: 2000,
      deliveryTimeoutMs: 4000,
      maxBlockMs: 4000,
      listener: {
        check: ({ id }: { id: string }) => {
          this.checkBacks++;
          return this.#truths.get(id) ?? 'unknown';
        },
      },
    });
    const consumer = this.#client.consumer({
      group: GROUP,
      topics: { [TOPIC]: '*' },
      from: 'first',
      commitIntervalMs: 50,
      rebalanceIntervalMs: 500,
      rebalanceRetryMs: 50,
      pullRetryMs: 20,
      handler: (message) => {
        this.consumed++;
        if (message.reconsumeTimes > 0) return;
        this.#history.write({
          op: 'saw',
          reader: 'consumer',
          topic: message.topic,
          queueId: message.queueId,
          offset: message.offset,
          id: message.id,
          crc: crc32(message.value),
        });
      },
    });
    await bank.start();
    await consumer.start();
    this.#stops.push(
      () => consumer.close(),
      () => producer.close({ timeoutMs: 0 }),
      () => bank.close({ timeoutMs: 0 }),
    );
    for (let n = 0; n < SENDERS; n++) this.#loops.push(this.#loop(() => this.#send(producer, n)));
    for (let n = 0; n < BANKS; n++) this.#loops.push(this.#loop(() => this.#transfer(bank)));
  }

  /** No new sends; waits for the answers of those on their way. */
  async settle(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops) await stop();
    await this.#client.close();
  }

  async #loop(once: () => Promise<void>): Promise<void> {
    while (this.#running) {
      await once();
      await sleep(PAUSE_MS);
    }
  }

  #invoke(half: boolean): { id: string; value: Buffer } {
    const id = randomBytes(16).toString('hex').toUpperCase();
    const value = Buffer.alloc(this.#random.between(20, 600), id.charCodeAt(3));
    value.write(id, 0, 'latin1');
    this.#history.write({ op: 'invoke', id, topic: TOPIC, crc: crc32(value), half });
    return { id, value };
  }

  async #send(producer: ReturnType<Client['producer']>, lane: number): Promise<void> {
    const { id, value } = this.#invoke(false);
    this.unanswered++;
    try {
      const receipt = await producer.send({ topic: TOPIC, id, value, queueId: lane % QUEUES });
      this.confirmed++;
      this.#history.write({
        op: 'confirm',
        id,
        queueId: receipt.queueId,
        offset: receipt.offset,
        position: positionOf(receipt.offsetMessageId),
      });
    } catch (thrown) {
      this.#failed(id, thrown);
    } finally {
      this.unanswered--;
    }
  }

  async #transfer(bank: ReturnType<Client['transactionProducer']>): Promise<void> {
    const { id, value } = this.#invoke(true);
    this.unanswered++;
    try {
      const half = await bank.half({ topic: TOPIC, id, value, queueId: this.#random.below(QUEUES) });
      this.halves++;
      this.#history.write({ op: 'confirm', id, queueId: -1, offset: -1, position: -1 });
      const verdict = this.#random.chance(0.3) ? 'rollback' : 'commit';
      this.#truths.set(id, verdict);
      if (verdict === 'commit') this.committed.add(id);
      this.#history.write({ op: 'decide', id, truth: verdict });
      if (this.#random.chance(0.2)) return;
      if (verdict === 'commit') void half.commit();
      else void half.rollback();
    } catch (thrown) {
      this.#truths.set(id, 'rollback');
      this.#failed(id, thrown);
      this.#history.write({ op: 'decide', id, truth: 'rollback' });
    } finally {
      this.unanswered--;
    }
  }

  #failed(id: string, thrown: unknown): void {
    const outcome = (thrown as { outcome?: unknown }).outcome;
    if (outcome === undefined) throw thrown;
    if (outcome === 'unknown') this.unknown++;
    this.#history.write({ op: outcome === 'unknown' ? 'unknown' : 'rejected', id });
  }
}

function positionOf(offsetMessageId: string): number {
  return offsetMessageId.length < 16 ? -1 : Number.parseInt(offsetMessageId.slice(-16), 16);
}
