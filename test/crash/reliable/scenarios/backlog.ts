/** A long backlog: rows by the hundred thousand lie in the outbox before the first relay starts, and transfers go on beside them. */
import type pg from 'pg';
import { BACKLOG_TABLES } from '../child/sink.ts';
import type { Child } from '../child-process.ts';
import type { Progress } from '../reading.ts';
import type { Scenario } from '../scenario.ts';
import type { Stage } from '../stage.ts';

const KEYS = 10_000;
const BODY_BYTES = 1500;
const MIB = 1024 * 1024;
/** A relay takes 110 MB with its first batch and up to 250 later, whether 60,000 rows wait or a million; one that reads all 100,000 takes 330. */
const RELAY_BYTES_MAX = 288 * MIB;
const KILLED_AT = [0.75, 0.4];
const DRAIN_WITHIN_MS = 300_000;

const backlog: Scenario = {
  name: 'backlog',
  sentence:
    'the outbox is full before a relay starts; relays are killed while they drain it, transfers are made beside it; memory and reads stay bounded',
  share: 1,
  faults: ['relay killed while it drained', 'rows came again', 'transfers made beside the drain'],
  async run(stage) {
    const size = stage.options.backlog;
    const topic = `${stage.topic}-backlog`;
    await stage.servers.b.with(stage.databaseB, (client) => client.query(BACKLOG_TABLES));
    await stage.servers.a.with(stage.databaseA, (client) => client.query(backlogRows(size, topic)));
    await stage.spawn('consumer');
    await stage.spawn('sink', { topic });
    await stage.spawn('app');
    const readBefore = await readBySequentialScans(stage);
    let relay = await stage.spawn('relay', { bulk: true, arm: [{ step: 'after-claim' }] });
    await stage.arrived(relay, 'after-claim');
    if (!bounded(stage, relay)) return;
    relay.go();
    for (const [n, share] of KILLED_AT.entries()) {
      const { made } = await stage.progress();
      stage.allow((n + 1) / (KILLED_AT.length + 1));
      const draining = relay;
      const seen = ({ open }: Progress): boolean => open < size * share || draining.peakBytes() > RELAY_BYTES_MAX;
      await stage.reaches(`${share * 100} % are left`, seen, DRAIN_WITHIN_MS);
      if (!bounded(stage, relay)) return;
      relay.arm({ step: 'after-publish' });
      if ((await stage.arrived(relay, 'after-publish')) === undefined) break;
      if (!bounded(stage, relay)) return;
      await relay.kill();
      const now = await stage.progress();
      if (now.open > 0) stage.fault('relay killed while it drained');
      if (now.made > made) stage.fault('transfers made beside the drain', now.made - made);
      relay = await stage.spawn('relay', { bulk: true });
    }
    stage.allow(1);
    await stage.reaches('the backlog has left', ({ open }) => open === 0, DRAIN_WITHIN_MS);
    if (!bounded(stage, relay)) return;
    const read = (await readBySequentialScans(stage)) - readBefore;
    stage.counts.set('rows read by sequential scans', read);
    if (read >= size)
      stage.violations.push({ invariant: 'bounded', seen: `${read} rows of ${size} were read by sequential scans` });
    await judgeArrivals(stage, size);
  },
};

/** False, and the run is over: there is nothing more to be seen. */
function bounded(stage: Stage, relay: Child): boolean {
  const peak = relay.peakBytes();
  const mb = (bytes: number): string => `${Math.round(bytes / MIB)} MB`;
  stage.counts.set('relay MB', Math.max(stage.counts.get('relay MB') ?? 0, Math.round(peak / MIB)));
  if (peak <= RELAY_BYTES_MAX) return true;
  stage.giveUp({ invariant: 'bounded', seen: `${relay.name} took ${mb(peak)}, at most ${mb(RELAY_BYTES_MAX)} it may` });
  return false;
}

/** As one statement writes them that somebody runs by hand; their numbers begin after `from`. */
export function backlogRows(size: number, topic: string, from = 0): string {
  const id = `lpad(upper(to_hex(n)), 32, '0')`;
  const body = `convert_to(json_build_object('number', n, 'fill', repeat('x', ${BODY_BYTES}))::text, 'UTF8')`;
  return `
    with line as (
      select n, ${id} as id, n % ${KEYS} as key, ${body} as body, floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now
      from generate_series(${from + 1}, ${from + size}) as n
    ), heads as (
      insert into tallystick_outbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      select id, '', key % 256, 'backlog-' || key, '${topic}', 'deferred', 'waiting', 0, 0, 0, now, now, length(body) from line order by n
    )
    insert into tallystick_outbox_body (id, channel, headers, body) select id, '', null, body from line`;
}

/** Of the outbox's two tables, since they were made; the harness's own reading keeps to the indexes. */
async function readBySequentialScans(stage: Stage): Promise<number> {
  return stage.servers.a.with(stage.databaseA, async (client) =>
    number(
      client,
      `select sum(seq_tup_read) as n from pg_stat_user_tables where relname in ('tallystick_outbox', 'tallystick_outbox_body')`,
    ),
  );
}

/** Every row has its effect once, and those of a key came in their order. */
async function judgeArrivals(stage: Stage, size: number): Promise<void> {
  await stage.servers.b.with(stage.databaseB, async (client) => {
    const here = (): Promise<number> => number(client, 'select count(distinct number) as n from backlog_effect');
    if (!(await stage.comesTrue('the backlog has arrived', async () => (await here()) >= size)))
      stage.violations.push({ invariant: 'nothing-lost', seen: `${size - (await here())} rows of the backlog` });
    const double = (await number(client, 'select count(*) as n from backlog_effect')) - (await here());
    if (double > 0) stage.violations.push({ invariant: 'one-effect', seen: `${double} effects of the backlog too many` });
    const disorder = await number(
      client,
      `select count(*) as n from (
         select key, number, min(place) as place, lag(number) over (partition by key order by min(place)) as before
         from backlog_arrival group by key, number
       ) as first where before > number`,
    );
    if (disorder > 0)
      stage.violations.push({ invariant: 'key-order', seen: `${disorder} rows of the backlog came before one of their key` });
    const arrivals = await number(client, 'select count(*) as n from backlog_arrival');
    stage.fault('rows came again', arrivals - size);
    stage.counts.set('duplicate-absorbed', (stage.counts.get('duplicate-absorbed') ?? 0) + arrivals - size);
  });
}

async function number(client: pg.Client, sql: string): Promise<number> {
  const { rows } = await client.query<{ n: string | null }>(sql);
  return Number(rows[0]?.n);
}

export const backlogScenarios: readonly Scenario[] = [backlog];
