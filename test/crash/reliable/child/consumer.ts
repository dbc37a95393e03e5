/**
 * Bank B's service: each transfer is credited by a handler of the inbox, in the inbox's transaction. Every few messages fail once on purpose after
 * their effect was written, so that the inbox has to come back to them; and some, when asked for, kill the process that handles them.
 */
import {
  CONFIRMATION_TYPE,
  createInbox,
  MessageIds,
  type Delivery,
  type Handler,
  type Inbox,
  type Receipt,
  type Transport,
} from '@tallystick/reliable';
import { systemClock, systemRandom } from '@tallystick/base/node';
import pg from 'pg';
import { branchOf, causeOf, credit, creditUnderLock, failsAtFirst, type TransferMessage } from '../bank.ts';
import { brokerEnds } from './brokers.ts';
import { FENCE, guardsOf, isLockTaken, LOCK_TAKEN, noteAsDone } from './guards.ts';
import type { ChildOptions, Line, WindowOptions } from './line.ts';
import { confirming, type Voice } from './replies.ts';
import { watchQueries } from './watch-queries.ts';

const QUERY_TIMEOUT_MS = 5000;
const REPORT_EVERY_MS = 200;
/** An acknowledgement is with the broker by then: our client tells its offsets every 200 ms. */
const ACKNOWLEDGED_WITHIN_MS = 500;

const COMMIT = /^\s*commit\b/i;
/** Of the whole transaction. */
const ROLLBACK = /^\s*rollback\s*$/i;
const CONFIRMS = /insert into "?tallystick_(?:outbox|call)"?\b/i;
const CARES = new RegExp([COMMIT, ROLLBACK, CONFIRMS, LOCK_TAKEN, FENCE].map(({ source }) => source).join('|'), 'i');

interface AtWork {
  readonly number: number;
  readonly serial: string;
}

export async function runConsumer(options: ChildOptions, line: Line): Promise<void> {
  const pool = new pg.Pool({
    connectionString: options.b,
    max: 10,
    query_timeout: QUERY_TIMEOUT_MS,
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
  });
  const ends = brokerEnds(options.broker);
  const { confirmation } = options;
  const voice = confirmation === undefined ? undefined : confirming(ends, options, confirmation, line);
  const early = options.defect === 'confirm-before-commit' ? ends.transport() : undefined;
  const consumer = new Consumer(options, line, pool, voice, early);
  await ends.prepare(options.topic);
  if (confirmation !== undefined) await ends.prepare(confirmation.replies);
  const subscription = await ends
    .subscriber()
    .subscribe(options.topic, (delivery) => consumer.receive(delivery), { prefetch: 40 });
  consumer.inbox.start();
  line.onStop = () => {
    void subscription
      .stop()
      .then(() => consumer.inbox.stop())
      .then(() => voice?.stop())
      .then(() => ends.close())
      .finally(() => process.exit(0));
  };
  line.ready();
}

class Consumer {
  readonly inbox: Inbox<pg.Pool>;
  private readonly options: ChildOptions;
  private readonly line: Line;
  private readonly pool: pg.Pool;
  private readonly early: Transport | undefined;
  /** Beside the transactions: what is noted there stays when they are rolled back. */
  private readonly beside: pg.Pool;
  private readonly ids = new MessageIds(systemClock, systemRandom());
  private readonly atWork = new WeakMap<object, AtWork>();
  /** Connections in whose transaction a confirmation was written. */
  private readonly confirming = new WeakSet<object>();

  constructor(options: ChildOptions, line: Line, pool: pg.Pool, voice: Voice | undefined, early: Transport | undefined) {
    this.options = options;
    this.line = line;
    this.pool = pool;
    this.early = early;
    this.beside = new pg.Pool({ connectionString: options.b, max: 2, query_timeout: QUERY_TIMEOUT_MS });
    this.beside.on('error', () => undefined);
    this.inbox = createInbox(pool, {
      consumer: 'bank-b',
      owner: options.name,
      leaseMs: options.leaseMs,
      sweepIntervalMs: 50,
      retryFirstMs: 50,
      retryMaxMs: 500,
      // Killed from outside again and again, a message must not look like poison where none is.
      ...(options.doomed === undefined ? {} : { attemptsMax: options.doomed.attemptsMax }),
      deathsMax: options.poison.length > 0 ? 2 : 100,
      // Quarantine waits for as long.
      ...(options.poison.length > 0 ? { databaseAfterMs: 2000 } : {}),
      deadKeys: options.passDead ? 'pass' : 'hold',
      stopAfterMs: 3000,
      ...windowOf(options),
      outbox: voice?.outbox,
      onAlarm: (alarm) => line.count(`alarm-inbox-${alarm.kind}`, JSON.stringify(alarm)),
    });
    const guards = guardsOf(options, line, this.beside, messageOf);
    const handler: Handler<pg.PoolClient> = async (delivery, { tx, attempts }) => {
      const message = messageOf(delivery);
      this.atWork.set(tx, { number: message.number, serial: delivery.id });
      const doomed = options.doomed?.numbers.includes(message.number) === true;
      if (doomed) await this.beside.query('insert into attempt (serial, number) values ($1, $2)', [delivery.id, message.number]);
      if (attempts > 0) await line.reached('in-retry', message.number, delivery.id);
      await this.creditIn(tx, message, delivery.id);
      await line.reached('after-effect', message.number, delivery.id);
      if (options.poison.includes(message.number)) process.kill(process.pid, 'SIGKILL');
      if (doomed) throw new Error(causeOf(message.number));
      if (failsAtFirst(message.number) && attempts === 0) throw new Error('fails once on purpose');
      await this.confirmEarly(delivery);
      if (options.defect === 'done-before-commit') await noteAsDone(this.beside, delivery.id);
    };
    this.inbox.handle('*', handler, guards);
    pool.on('error', () => undefined);
    pool.on('connect', (client) => this.watch(client));
    this.report();
  }

  async receive(delivery: Delivery): Promise<Receipt> {
    const { number } = messageOf(delivery);
    if (this.options.confirmation !== undefined) await this.noteArrival(delivery.id, number);
    await this.line.reached('after-delivery', number, delivery.id);
    if (this.options.defect === 'repeat-not-confirmed' && (await this.isDone(delivery.id))) return 'done';
    if (this.options.defect === 'ack-before-commit') {
      setTimeout(() => void this.inbox.receive(delivery), ACKNOWLEDGED_WITHIN_MS);
      return 'done';
    }
    const receipt = await (this.options.defect === 'no-inbox' ? this.handleUnseen(delivery) : this.inbox.receive(delivery));
    await this.line.reached('before-ack', number, delivery.id);
    return receipt;
  }

  private async creditIn(tx: pg.PoolClient, message: TransferMessage, serial: string): Promise<void> {
    if (this.options.defect === 'effect-beside-transaction') return credit(this.beside, message, serial);
    const { branches } = this.options;
    if (branches === 0) return credit(tx, message, serial);
    return creditUnderLock(tx, message, serial, branchOf(message.account, branches), () =>
      this.line.reached('decided', message.number, serial),
    );
  }

  /** The defect: nobody asks whether this message has been seen. */
  private async handleUnseen(delivery: Delivery): Promise<Receipt> {
    const client = await this.pool.connect();
    try {
      await client.query('begin');
      await credit(client, messageOf(delivery), delivery.id);
      await this.line.reached('after-effect', messageOf(delivery).number, delivery.id);
      await client.query('commit');
      return 'done';
    } catch {
      return 'again';
    } finally {
      client.release();
    }
  }

  /** Every arrival, repeats included: what the harness knows serials from. */
  private async noteArrival(serial: string, number: number): Promise<void> {
    await this.pool
      .query('insert into arrival (serial, number) values ($1, $2)', [serial, number])
      .catch((error: unknown) => this.line.count('arrival-not-noted', String(error)));
  }

  /** For a defect: the message is known, so there is nothing to do. */
  private async isDone(serial: string): Promise<boolean> {
    const { rowCount } = await this.pool.query(`select 1 from tallystick_inbox where id = $1 and state = 'done'`, [serial]);
    return rowCount === 1;
  }

  /** The defect: the effect is written, so it is as good as there. */
  private async confirmEarly({ id }: Delivery): Promise<void> {
    const { confirmation } = this.options;
    if (this.early === undefined || confirmation === undefined) return;
    const body = Buffer.from(JSON.stringify({ serial: id, consumer: 'bank-b', at: Date.now() }));
    await this.early.publish([{ id: this.ids.next(), topic: confirmation.replies, type: CONFIRMATION_TYPE, body }]);
  }

  private watch(client: pg.PoolClient): void {
    client.on('error', () => undefined);
    watchQueries(client, {
      cares: CARES,
      before: (sql) => {
        if (LOCK_TAKEN.test(sql)) return undefined;
        if (FENCE.test(sql)) return this.atStep(client, 'before-fence');
        if (ROLLBACK.test(sql)) return void this.atWork.delete(client);
        if (COMMIT.test(sql)) return this.atCommit(client);
        return void this.confirming.add(client);
      },
      answered: (sql, _status, asked) => {
        if (LOCK_TAKEN.test(sql)) return isLockTaken(asked) ? this.line.reached('lock-taken', 0, '') : undefined;
        if (FENCE.test(sql) && this.atWork.has(client) && asked.changes === 0) this.line.count('fenced');
        return undefined;
      },
      retold: (sql, result) => {
        const isUnfenced = this.options.defect === 'lock-not-fenced' && FENCE.test(sql) && this.atWork.has(client);
        return isUnfenced ? { ...result, rowCount: 1 } : result;
      },
    });
  }

  private atCommit(client: pg.PoolClient): Promise<void> | undefined {
    const isWork = this.atWork.has(client);
    const repeats = this.confirming.delete(client) && !isWork;
    if (repeats) return this.line.reached('before-repeat-commit', 0, '');
    const arrived = this.atStep(client, 'before-effect-commit');
    this.atWork.delete(client);
    return arrived;
  }

  /** Of the transaction in which a handler has been at work. */
  private atStep(client: pg.PoolClient, step: 'before-fence' | 'before-effect-commit'): Promise<void> | undefined {
    const work = this.atWork.get(client);
    return work === undefined ? undefined : this.line.reached(step, work.number, work.serial);
  }

  private report(): void {
    const told = { duplicates: 0, failed: 0, forgotten: 0 };
    setInterval(() => {
      const { duplicates, failed, forgotten } = this.inbox.counters;
      for (; told.forgotten < forgotten; told.forgotten++) this.line.count('key-forgotten');
      for (; told.duplicates < duplicates; told.duplicates++) this.line.count('duplicate-absorbed');
      for (; told.failed < failed; told.failed++) this.line.count('handler-failed');
    }, REPORT_EVERY_MS).unref();
  }
}

/** The defect: the consumer says that nothing comes again later than that, and forgets as early. */
const HASTY_WINDOW: WindowOptions = { keepKeysMs: 50, redeliveryMs: 0, forgetIntervalMs: 50, oldMessages: 'handle' };

function windowOf({ defect, window }: ChildOptions): WindowOptions | undefined {
  return defect === 'keys-forgotten-early' ? HASTY_WINDOW : window;
}

function messageOf(delivery: Delivery): TransferMessage {
  return JSON.parse(Buffer.from(delivery.body).toString('utf8')) as TransferMessage;
}
