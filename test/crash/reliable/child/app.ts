/**
 * Bank A's service: it makes the planned transfers, a few at once, each in one transaction with its message. It may be killed at any line: on
 * its next start it reads from its own database what has been made. A COMMIT whose answer is lost is looked up before anything is made again, by the
 * transaction's number or by a marker row that shuts the door behind it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { createOutbox, MessageIds } from '@tallystick/reliable';
import pg from 'pg';
import { accountOf, debit, transferOf, type Transfer } from '../bank.ts';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, Line } from './line.ts';
import { pgHandle } from './pg-handle.ts';
import { watchQueries } from './watch-queries.ts';

/** One in so many transfers is rolled back on purpose, once, after its message was added. */
const ROLLED_BACK_EVERY = 9;
const DEADLOCK_EVERY = 2;
const AGAIN_AFTER_MS = 20;
const QUERY_TIMEOUT_MS = 3000;

/** What an attempt is about; found by the connection that it runs on. */
interface Attempt {
  readonly transfer: Transfer;
  readonly serial: string;
  transaction: string;
  commitSent: boolean;
}

export async function runApp(options: ChildOptions, line: Line): Promise<void> {
  const app = new App(options, line);
  await app.start();
}

class App {
  private readonly options: ChildOptions;
  private readonly line: Line;
  private readonly pool: pg.Pool;
  private readonly outbox;
  private readonly ids = new MessageIds(systemClock, systemRandom());
  private readonly attempts = new WeakMap<object, Attempt>();
  private readonly rolledBack = new Set<number>();
  private readonly ends;
  private wake: (() => void)[] = [];
  private stopping = false;

  constructor(options: ChildOptions, line: Line) {
    this.options = options;
    this.line = line;
    this.pool = new pg.Pool({
      connectionString: options.a,
      max: options.workers + 1,
      query_timeout: QUERY_TIMEOUT_MS,
      connectionTimeoutMillis: QUERY_TIMEOUT_MS,
    });
    this.pool.on('error', () => undefined);
    this.pool.on('connect', (client) => this.watch(client));
    this.outbox = createOutbox(pgHandle(new pg.Client({ connectionString: options.a })), { mode: 'deferred' });
    this.ends = options.defect === 'publish-before-commit' ? brokerEnds(options.broker) : undefined;
  }

  async start(): Promise<void> {
    const made = await this.numbersMade();
    this.line.onAllow = () => this.wake.splice(0).forEach((wake) => wake());
    this.line.onStop = () => {
      this.stopping = true;
      void this.pool.end().finally(() => process.exit(0));
    };
    this.line.ready();
    const { workers } = this.options;
    await Promise.all(Array.from({ length: workers }, (_, n) => this.work(n, made)));
  }

  private async numbersMade(): Promise<Set<number>> {
    const { rows } = await this.pool.query('select distinct number from journal');
    return new Set(rows.map((row: { number: number }) => row.number));
  }

  /** Numbers n, n + workers, …, as far as they are allowed. */
  private async work(first: number, made: ReadonlySet<number>): Promise<void> {
    const { keys, seed, workers } = this.options;
    for (let number = first + 1; !this.stopping; number += workers) {
      while (number > this.line.allowed) await new Promise<void>((resolve) => this.wake.push(resolve));
      if (!made.has(number)) await this.make(transferOf(number, keys, seed));
    }
  }

  /** Until it is certainly made. */
  private async make(transfer: Transfer): Promise<void> {
    while (!this.stopping) {
      const attempt: Attempt = { transfer, serial: this.ids.next(), transaction: '', commitSent: false };
      try {
        await this.attempt(attempt);
        return;
      } catch (error) {
        this.line.count(attempt.commitSent ? 'commit-unknown' : 'attempt-failed', messageOf(error));
        if (this.options.defect !== 'unknown-taken-for-failure' && attempt.commitSent && (await this.wasCommitted(attempt))) return;
      }
      await sleep(AGAIN_AFTER_MS);
    }
  }

  private async attempt(attempt: Attempt): Promise<void> {
    const { line } = this;
    const { transfer, serial } = attempt;
    await line.reached('before-begin', transfer.number, serial);
    const client = await this.pool.connect();
    this.attempts.set(client, attempt);
    let failed = true;
    try {
      await client.query('begin isolation level read committed');
      const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
      attempt.transaction = rows[0]!.xid;
      await this.lockInAnyOrder(client, transfer);
      const message = await debit(client, transfer, serial);
      await line.reached('after-business-write', transfer.number, serial);
      const body = JSON.stringify(message);
      await this.outbox.in(pgHandle(client)).add({ id: serial, topic: this.options.topic, key: transfer.account, body });
      await line.reached('after-add', transfer.number, serial);
      await this.ends?.transport.publish([
        { id: serial, topic: this.options.topic, key: transfer.account, body: Buffer.from(body) },
      ]);
      this.refuseSome(transfer);
      await client.query('commit');
      failed = false;
      await line.reached('after-commit', transfer.number, serial);
    } finally {
      this.attempts.delete(client);
      // A connection that met an error is not used again: nobody knows what is still open on it.
      client.release(failed);
    }
  }

  /** Two rows locked in opposite orders by neighbours: PostgreSQL has to kill one of them now and then. */
  private async lockInAnyOrder(client: pg.PoolClient, { number, account }: Transfer): Promise<void> {
    if (!this.options.deadlocks || number % DEADLOCK_EVERY !== 0) return;
    const other = accountOf((number + 1) % this.options.keys);
    const both = (number / DEADLOCK_EVERY) % 2 === 0 ? [account, other] : [other, account];
    for (const id of both) await client.query('select balance from account where id = $1 for update', [id]);
  }

  private refuseSome({ number }: Transfer): void {
    if (number % ROLLED_BACK_EVERY !== 0 || this.rolledBack.has(number)) return;
    this.rolledBack.add(number);
    throw new Error('rolled back on purpose');
  }

  /** Even numbers ask the database for the transaction's end; odd ones write its marker: it goes in only if the transaction did not. */
  private async wasCommitted({ transfer, transaction, serial }: Attempt): Promise<boolean> {
    for (;;) {
      try {
        if (transfer.number % 2 === 0) {
          const status = await this.statusOf(transaction);
          if (status === 'committed' || status === 'aborted') {
            this.line.count('asked pg_xact_status');
            this.line.count(`resolved-${status}`);
            return status === 'committed';
          }
        } else {
          const committed = await this.markerIsThere(serial);
          this.line.count('asked the marker row');
          this.line.count(committed ? 'resolved-committed' : 'resolved-aborted');
          return committed;
        }
      } catch (error) {
        this.line.count('lookup-failed', messageOf(error));
      }
      await sleep(AGAIN_AFTER_MS);
    }
  }

  private async statusOf(transaction: string): Promise<string | null> {
    const { rows } = await this.pool.query<{ status: string | null }>('select pg_xact_status($1::xid8) as status', [transaction]);
    return rows[0]?.status ?? null;
  }

  /** The journal's unique key is the marker: this insert waits for the other transaction's end, and loses if that was a commit. */
  private async markerIsThere(serial: string): Promise<boolean> {
    const { rowCount } = await this.pool.query(
      `insert into journal (serial, number, account, amount, key_sequence, note)
       select $1, 0, '', 0, 0, 'fence' on conflict (serial) do nothing`,
      [serial],
    );
    return rowCount === 0;
  }

  private watch(client: pg.PoolClient): void {
    client.on('error', () => undefined);
    watchQueries(client, {
      cares: /^\s*commit\b/i,
      before: () => this.atCommit(client, 'before-commit'),
      sent: () => {
        const attempt = this.attempts.get(client);
        if (attempt !== undefined) attempt.commitSent = true;
        return this.atCommit(client, 'commit-sent');
      },
    });
  }

  private atCommit(client: pg.PoolClient, step: 'before-commit' | 'commit-sent'): Promise<void> | undefined {
    const attempt = this.attempts.get(client);
    return attempt === undefined ? undefined : this.line.reached(step, attempt.transfer.number, attempt.serial);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
