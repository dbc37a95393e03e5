/**
 * Bank B's service: each transfer is credited in the transaction of the inbox. Every few messages fail once on purpose after their effect was
 * written, and some, when asked for, kill the process that handles them.
 */
import { createInbox, type Delivery, type Receipt } from '@tallystick/reliable';
import pg from 'pg';
import { credit, type TransferMessage } from '../bank.ts';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, Line } from './line.ts';
import { pgHandle } from './pg-handle.ts';
import { watchQueries } from './watch-queries.ts';

/** One in so many messages fails the first time it is handled. */
const FAILS_EVERY = 11;
const QUERY_TIMEOUT_MS = 5000;

interface AtWork {
  readonly message: TransferMessage;
  readonly serial: string;
}

export async function runConsumer(options: ChildOptions, line: Line): Promise<void> {
  const pool = new pg.Pool({ connectionString: options.b, max: 8, query_timeout: QUERY_TIMEOUT_MS, connectionTimeoutMillis: QUERY_TIMEOUT_MS });
  const consumer = new Consumer(options, line, pool);
  const ends = brokerEnds(options.broker);
  const subscription = await ends.subscriber.subscribe(options.topic, (delivery) => consumer.receive(delivery));
  line.onStop = () => {
    void subscription
      .stop()
      .then(() => ends.close())
      .finally(() => process.exit(0));
  };
  line.ready();
}

class Consumer {
  private readonly options: ChildOptions;
  private readonly line: Line;
  private readonly pool: pg.Pool;
  private readonly inbox;
  private readonly atWork = new WeakMap<object, AtWork>();
  private readonly failed = new Set<string>();

  constructor(options: ChildOptions, line: Line, pool: pg.Pool) {
    this.options = options;
    this.line = line;
    this.pool = pool;
    this.inbox = createInbox(pgHandle(new pg.Client({ connectionString: options.b })), { consumer: 'bank-b' });
    pool.on('error', () => undefined);
    pool.on('connect', (client) => {
      client.on('error', () => undefined);
      watchQueries(client, {
        cares: /^\s*commit\b/i,
        before: () => {
          const work = this.atWork.get(client);
          return work === undefined ? undefined : this.line.reached('before-effect-commit', work.message.number, work.serial);
        },
      });
    });
  }

  async receive(delivery: Delivery): Promise<Receipt> {
    const message = JSON.parse(Buffer.from(delivery.body).toString('utf8')) as TransferMessage;
    await this.line.reached('after-delivery', message.number, delivery.id);
    if (this.options.defect === 'ack-before-commit') {
      void this.handle(delivery.id, message).catch(() => undefined);
      return 'done';
    }
    try {
      await this.handle(delivery.id, message);
    } catch (error) {
      this.line.count('handler-failed', error instanceof Error ? error.message : String(error));
      return 'again';
    }
    await this.line.reached('before-ack', message.number, delivery.id);
    return 'done';
  }

  private async handle(serial: string, message: TransferMessage): Promise<void> {
    const client = await this.pool.connect();
    this.atWork.set(client, { message, serial });
    let failed = true;
    try {
      await client.query('begin');
      if (this.options.defect === 'no-inbox') await this.effect(client, message, serial);
      else {
        const { outcome } = await this.inbox.once(pgHandle(client), serial, () => this.effect(client, message, serial));
        if (outcome === 'duplicate') this.line.count('duplicate-absorbed');
      }
      await client.query('commit');
      failed = false;
    } finally {
      this.atWork.delete(client);
      client.release(failed);
    }
  }

  private async effect(client: pg.PoolClient, message: TransferMessage, serial: string): Promise<void> {
    if (this.failed.has(serial)) await this.line.reached('in-retry', message.number, serial);
    await credit(client, message, serial);
    await this.line.reached('after-effect', message.number, serial);
    if (message.number % FAILS_EVERY !== 0 || this.failed.has(serial)) return;
    this.failed.add(serial);
    throw new Error('fails once on purpose');
  }
}
