/**
 * Takes a backlog: messages are written down many at a time, each effect in the transaction that remembers its serial, and acknowledged
 * afterwards. Every arrival is noted too, so that the harness sees repeats and order.
 */
import type { Delivery, Receipt } from '@tallystick/reliable';
import pg from 'pg';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, Line } from './line.ts';

const PREFETCH = 1000;
const QUERY_TIMEOUT_MS = 10_000;

export const BACKLOG_TABLES = `
  create table backlog_seen (serial text primary key);
  create table backlog_effect (place bigint generated always as identity, number integer not null);
  create table backlog_arrival (place bigint generated always as identity primary key, key text not null, number integer not null);
`;

const TAKE = `
  with come as (select serial, key, number, nth from unnest($1::text[], $2::text[], $3::int[]) with ordinality as t(serial, key, number, nth)),
  arrived as (insert into backlog_arrival (key, number) select key, number from come order by nth),
  fresh as (insert into backlog_seen (serial) select distinct serial from come on conflict do nothing returning serial)
  insert into backlog_effect (number) select number from (select distinct serial, number from come) as each join fresh using (serial)`;

interface Waiting {
  readonly delivery: Delivery;
  readonly answer: (receipt: Receipt) => void;
}

export async function runSink(options: ChildOptions, line: Line): Promise<void> {
  const pool = new pg.Pool({ connectionString: options.b, max: 2, query_timeout: QUERY_TIMEOUT_MS });
  pool.on('error', () => undefined);
  const ends = brokerEnds(options.broker, { group: 'sink', orderly: false });
  await ends.prepare(options.topic);
  let waiting: Waiting[] = [];
  let writing = false;
  /** One batch at a time: what comes meanwhile is the next one. */
  const write = async (): Promise<void> => {
    writing = true;
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const receipt = await take(pool, batch).catch((error: unknown): Receipt => {
        line.count('sink-refused', String(error));
        return 'again';
      });
      for (const { answer } of batch) answer(receipt);
    }
    writing = false;
  };
  const receive = (delivery: Delivery): Promise<Receipt> =>
    new Promise((answer) => {
      waiting.push({ delivery, answer });
      // What is on the socket already comes first, and into one batch.
      if (!writing) setImmediate(() => (writing ? undefined : void write()));
    });
  const subscription = await ends.subscriber().subscribe(options.topic, receive, { prefetch: PREFETCH });
  line.onStop = () => {
    void subscription
      .stop()
      .then(() => ends.close())
      .finally(() => process.exit(0));
  };
  line.ready();
}

async function take(pool: pg.Pool, batch: readonly Waiting[]): Promise<Receipt> {
  const numberOf = ({ delivery }: Waiting): number =>
    (JSON.parse(Buffer.from(delivery.body).toString('utf8')) as { number: number }).number;
  await pool.query(TAKE, [
    batch.map(({ delivery }) => delivery.id),
    batch.map(({ delivery }) => delivery.key ?? ''),
    batch.map(numberOf),
  ]);
  return 'done';
}
