/** Relays on a real PostgreSQL with a broker in memory, and the judge of what arrived. */
import {
  createRelay,
  transaction,
  createOutbox,
  type Alarm,
  type NewMessage,
  type OutgoingMessage,
  type PublishOutcome,
  type Relay,
  type RelaySettings,
  type Transport,
} from '@tallystick/reliable';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { until } from '../support/live.ts';
import { freshDatabase, type FreshDatabase } from '../support/services.ts';

/** A broker that keeps what it confirms, in order, repeats included; a test may hold it back, break it, or let it answer as it likes. */
export class Broker implements Transport {
  readonly keepsOrder: boolean;
  readonly stored: OutgoingMessage[] = [];
  /** Called before a batch is looked at. */
  before: (batch: readonly OutgoingMessage[]) => void | Promise<void> = () => undefined;
  answer: (message: OutgoingMessage) => PublishOutcome['outcome'] = () => 'confirmed';

  constructor(keepsOrder = false) {
    this.keepsOrder = keepsOrder;
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<PublishOutcome[]> {
    await this.before(batch);
    const broken = new Set<string>();
    return batch.map((message) => {
      const { key } = message;
      if (this.keepsOrder && key !== undefined && broken.has(key)) return { outcome: 'unavailable' };
      const outcome = this.answer(message);
      if (outcome === 'confirmed') this.stored.push(message);
      else if (key !== undefined) broken.add(key);
      return { outcome };
    });
  }
}

export interface World {
  readonly database: FreshDatabase;
  readonly pool: pg.Pool;
  readonly broker: Broker;
  readonly alarms: Alarm[];
  /** Messages in one transaction that commits. */
  add(...messages: Partial<NewMessage>[]): Promise<void>;
  relay(settings?: Partial<RelaySettings>): Relay;
  /** Rows in the outbox. */
  left(): Promise<number>;
  /** How many rows are in which state. */
  states(): Promise<Record<string, number>>;
}

export async function world({ keepsOrder = false, pooled = false } = {}): Promise<World> {
  const database = await freshDatabase();
  const connectionString = pooled ? database.pooledUrl : database.url;
  const pool = poolOf(connectionString);
  const broker = new Broker(keepsOrder);
  const alarms: Alarm[] = [];
  const relays: Relay[] = [];
  const outbox = createOutbox(pool, { durability: 'trust' });
  onTestFinished(async () => {
    broker.before = () => undefined;
    await Promise.all(relays.map((relay) => relay.stop()));
    await Promise.all(pools.splice(0).map((one) => one.end()));
    await database.drop();
  });
  const pools = [pool];
  return {
    database,
    pool,
    broker,
    alarms,
    add: (...messages) =>
      transaction(pool, async (tx: pg.PoolClient) => {
        await outbox.in(tx).addMany(messages.map((message) => ({ topic: 't', body: 'b', ...message })));
      }),
    relay(settings = {}) {
      const own = poolOf(connectionString);
      pools.push(own);
      const relay = createRelay({
        db: own,
        transport: broker,
        onAlarm: (alarm) => alarms.push(alarm),
        retryFirstMs: 20,
        retryMaxMs: 100,
        brakeFirstMs: 10,
        brakeMaxMs: 200,
        leaseMs: 1000,
        ...settings,
      });
      relays.push(relay);
      return relay;
    },
    async left() {
      const { rows } = await pool.query<{ n: string }>('select count(*) as n from tallystick_outbox');
      return Number(rows[0]!.n);
    },
    async states() {
      const { rows } = await pool.query<{ state: string; n: string }>(
        'select state, count(*) as n from tallystick_outbox group by state order by state',
      );
      return Object.fromEntries(rows.map(({ state, n }) => [state, Number(n)]));
    },
  };
}

function poolOf(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 4 });
  pool.on('error', () => undefined);
  return pool;
}

export async function drained(here: World): Promise<void> {
  await until('the outbox is empty', async () => (await here.left()) === 0);
}

/** What is wrong with what arrived: texts are `key number`, numbers of a key from 0. Repeats are allowed, gaps and overtaking are not. */
export function faults(stored: readonly OutgoingMessage[], expected: ReadonlyMap<string, number>): string[] {
  const found: string[] = [];
  const next = new Map<string, number>();
  const ids = new Map<string, string>();
  for (const { id, body } of stored) {
    const text = Buffer.from(body).toString();
    const [key, number] = text.split(' ') as [string, string];
    const known = ids.get(text);
    if (known !== undefined && known !== id) found.push(`${text} came under two ids`);
    if (known !== undefined) continue;
    ids.set(text, id);
    const due = next.get(key) ?? 0;
    if (Number(number) !== due) found.push(`${text} came when ${key} ${due} was due`);
    next.set(key, Number(number) + 1);
  }
  for (const [key, count] of expected)
    if ((next.get(key) ?? 0) !== count) found.push(`${key}: ${next.get(key) ?? 0} of ${count} came`);
  return found;
}

/** Messages `k<n> 0…` of some keys, in order per key. */
export function keyed(keys: number, each: number): { messages: Partial<NewMessage>[]; expected: Map<string, number> } {
  const messages: Partial<NewMessage>[] = [];
  for (let number = 0; number < each; number++)
    for (let key = 0; key < keys; key++) messages.push({ key: `k${key}`, body: `k${key} ${number}` });
  return { messages, expected: new Map(Array.from({ length: keys }, (_, key) => [`k${key}`, each])) };
}
