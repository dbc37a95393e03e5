/**
 * Bank A's service: it makes the planned transfers, a few at once, each in one transaction with its message. It may be killed at any line: on
 * its next start it reads from its own database what has been made. A COMMIT whose answer is lost is looked up before anything is made again: for
 * even numbers the package asks for the transaction's status, for odd ones the service itself writes a marker that shuts the door behind it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { afterCommit, createOutbox, MessageIds, shardOf, transaction, type Confirm } from '@tallystick/reliable';
import pg from 'pg';
import { debit, transferOf, type Transfer, type TransferMessage } from '../bank.ts';
import { brokerEnds } from './brokers.ts';
import { type Ear, hearConfirmations } from './confirmations.ts';
import { Contention, GIVES_WAY } from './contention.ts';
import type { ChildOptions, Line } from './line.ts';
import type { PgRunner } from './pg-runner.ts';
import { watchQueries } from './watch-queries.ts';

/** One in so many transfers is rolled back on purpose, once, after its message was added. */
const ROLLED_BACK_EVERY = 9;
const RETRIES = 3;
const AGAIN_AFTER_MS = 20;
const QUERY_TIMEOUT_MS = 3000;
/** Longer than any scenario takes: the row is there to be looked at. */
const KEPT_MS = 3_600_000;

/** What an attempt is about; found by the connection that it runs on. */
interface Attempt {
  readonly transfer: Transfer;
  readonly serial: string;
  /** What the last try of it wrote. */
  debited?: TransferMessage;
}

export async function runApp(options: ChildOptions, line: Line): Promise<void> {
  await new App(options, line).start();
}

class App {
  private readonly options: ChildOptions;
  private readonly line: Line;
  private readonly pool: pg.Pool;
  private readonly outbox;
  private readonly ids = new MessageIds(systemClock, systemRandom());
  private readonly attempts = new WeakMap<object, Attempt>();
  private readonly rolledBack = new Set<number>();
  private readonly contention: Contention | undefined;
  private readonly early;
  private wake: (() => void)[] = [];
  private stopping = false;

  constructor(options: ChildOptions, line: Line) {
    this.options = options;
    this.line = line;
    this.contention = options.contention ? new Contention() : undefined;
    this.pool = new pg.Pool({
      connectionString: options.a,
      max: options.workers + 1,
      query_timeout: QUERY_TIMEOUT_MS,
      connectionTimeoutMillis: QUERY_TIMEOUT_MS,
    });
    this.pool.on('error', () => undefined);
    this.pool.on('connect', (client) => this.watch(client));
    this.outbox = createOutbox(this.pool, { mode: 'deferred' });
    this.early = options.defect === 'publish-before-commit' ? brokerEnds(options.broker).transport() : undefined;
  }

  async start(): Promise<void> {
    const made = await this.numbersMade();
    const { confirmation } = this.options;
    const ear: Ear | undefined =
      confirmation === undefined ? undefined : await hearConfirmations(this.outbox, this.options, confirmation, this.line);
    this.line.onAllow = () => this.wake.splice(0).forEach((wake) => wake());
    this.line.onStop = () => {
      this.stopping = true;
      void Promise.resolve(ear?.stop())
        .then(() => this.pool.end())
        .finally(() => process.exit(0));
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
    const { keys, seed, workers, parity } = this.options;
    for (let number = first + 1; !this.stopping; number += workers) {
      while (number > this.line.allowed) await new Promise<void>((resolve) => this.wake.push(resolve));
      if (!made.has(number) && (parity === undefined || number % 2 === parity)) await this.make(transferOf(number, keys, seed));
    }
  }

  /** Until it is certainly made. */
  private async make(transfer: Transfer): Promise<void> {
    while (!this.stopping) {
      const attempt: Attempt = { transfer, serial: this.ids.next() };
      try {
        await this.attempt(attempt);
        return;
      } catch (error) {
        const unknown = codeOf(error) === 'COMMIT_UNKNOWN';
        this.line.count(unknown ? 'commit-unknown' : 'attempt-failed', messageOf(error));
        if (unknown && this.options.defect !== 'unknown-taken-for-failure' && (await this.wasCommitted(attempt.serial))) return;
      }
      await sleep(AGAIN_AFTER_MS);
    }
  }

  private async attempt(attempt: Attempt): Promise<void> {
    const { line, options } = this;
    const { transfer, serial } = attempt;
    const { number, account } = transfer;
    await line.reached('before-begin', number, serial);
    const resolveOutcome = number % 2 === 0 && options.defect !== 'unknown-taken-for-failure';
    await transaction(
      this.pool,
      async (tx) => {
        this.attempts.set(tx, attempt);
        await this.contention?.before(tx, number);
        const message = (attempt.debited = await this.debitOf(tx, attempt));
        await this.meetOthers(tx, number);
        await line.reached('after-business-write', number, serial);
        const body = JSON.stringify(message);
        if (options.old) await addAsBefore(tx, { id: serial, topic: options.topic, key: account, body });
        else {
          await this.outbox.in(tx).add({ id: serial, topic: options.topic, key: account, body, ...this.confirmedHow(number) });
          afterCommit(tx, () => line.committed(serial));
        }
        await line.reached('after-add', number, serial);
        await this.early?.publish([{ id: serial, topic: options.topic, key: account, body: Buffer.from(body) }]);
        this.refuseSome(transfer);
      },
      { resolveOutcome, retries: RETRIES },
    );
    await line.reached('after-commit', number, serial);
  }

  /** By message or by request; and one half of each is kept after it is settled. */
  private confirmedHow(number: number): { confirm: Confirm; replyTo: string; keepMs: number } | undefined {
    const { confirmation } = this.options;
    if (confirmation === undefined) return undefined;
    const { withinMs, replies, port } = confirmation;
    const replyTo = number % 2 === 0 ? replies : `http://127.0.0.1:${port}/confirmations`;
    return { confirm: { by: 'consumer', withinMs }, replyTo, keepMs: number % 4 < 2 ? KEPT_MS : 0 };
  }

  /** The defect: when PostgreSQL has ended the transaction, only what comes after the debit is done again. */
  private async debitOf(tx: pg.PoolClient, { transfer, serial, debited }: Attempt): Promise<TransferMessage> {
    if (this.options.defect === 'debit-not-repeated' && debited !== undefined) return debited;
    return debit(tx, transfer, serial);
  }

  private async meetOthers(tx: pg.PoolClient, number: number): Promise<void> {
    try {
      await this.contention?.meet(tx, number);
    } catch (error) {
      const code = codeOf(error);
      const [way] = Object.entries(GIVES_WAY).find(([, state]) => state === code) ?? [];
      if (way !== undefined) this.line.count(`gave way: ${way}`);
      throw error;
    }
  }

  private refuseSome({ number }: Transfer): void {
    if (number % ROLLED_BACK_EVERY !== 0 || this.rolledBack.has(number)) return;
    this.rolledBack.add(number);
    this.line.count('rolled-back-on-purpose');
    throw new Error('rolled back on purpose');
  }

  /** The journal's unique key is the marker: this insert waits for the other transaction's end, and loses if that was a commit. */
  private async wasCommitted(serial: string): Promise<boolean> {
    for (;;) {
      try {
        const { rowCount } = await this.pool.query(
          `insert into journal (serial, number, account, amount, key_sequence, note) values ($1, 0, '', 0, 0, 'fence')
           on conflict (serial) do nothing`,
          [serial],
        );
        this.line.count('asked the marker row');
        this.line.count(rowCount === 0 ? 'resolved-committed' : 'resolved-aborted');
        return rowCount === 0;
      } catch (error) {
        this.line.count('lookup-failed', messageOf(error));
        await sleep(AGAIN_AFTER_MS);
      }
    }
  }

  private watch(client: pg.PoolClient): void {
    client.on('error', () => undefined);
    watchQueries(client, {
      cares: /^\s*commit\b|(pg_xact|txid)_status/i,
      before: (sql) => (isCommit(sql) ? this.atCommit(client, 'before-commit') : undefined),
      sent: (sql) => (isCommit(sql) ? this.atCommit(client, 'commit-sent') : undefined),
      answered: (sql) => {
        if (isCommit(sql)) this.attempts.delete(client);
        else this.line.count('asked for its status');
        return undefined;
      },
    });
  }

  private atCommit(client: pg.PoolClient, step: 'before-commit' | 'commit-sent'): Promise<void> | undefined {
    const attempt = this.attempts.get(client);
    return attempt === undefined ? undefined : this.line.reached(step, attempt.transfer.number, attempt.serial);
  }
}

/** As schema version 1 had it. */
async function addAsBefore(
  tx: PgRunner,
  { id, topic, key, body }: { id: string; topic: string; key: string; body: string },
): Promise<void> {
  const now = Date.now();
  await tx.query(
    `insert into tallystick_outbox (id, channel, shard, message_key, topic, tag, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     values ($1, '', $2, $3, $4, null, 'deferred', 'waiting', 0, 0, 0, $5, $5, $6)`,
    [id, shardOf(key, id), key, topic, now, Buffer.byteLength(body)],
  );
  await tx.query(`insert into tallystick_outbox_body (id, channel, headers, body) values ($1, '', null, $2)`, [
    id,
    Buffer.from(body),
  ]);
}

function isCommit(sql: string): boolean {
  return /^\s*commit\b/i.test(sql);
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
