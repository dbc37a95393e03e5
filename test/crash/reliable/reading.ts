/** Both databases as an outsider sees them. */
import type pg from 'pg';
import type { AccountRow, CreditRow, LedgerRow, Reading } from './invariants.ts';
import type { PostgresServer } from './servers/postgres-server.ts';

export interface Databases {
  readonly serverA: PostgresServer;
  readonly serverB: PostgresServer;
  readonly a: string;
  readonly b: string;
}

/** Cheap figures, asked for again and again. */
export interface Progress {
  /** Transfers committed in A. */
  readonly made: number;
  /** Rows of the outbox that are not settled. */
  readonly open: number;
  /** Effects in B, repeats included. */
  readonly effects: number;
  readonly distinctEffects: number;
  readonly deadInInbox: number;
  /** Confirmations that have not left bank B. */
  readonly unsaid: number;
}

export async function readProgress({ serverA, serverB, a, b }: Databases): Promise<Progress> {
  const ofA = await serverA.with(a, (client) =>
    numbers(
      client,
      `select (select count(*) from journal where number > 0) as made, (select count(*) from tallystick_outbox where state <> 'confirmed') as open`,
    ),
  );
  const ofB = await serverB.with(b, (client) =>
    numbers(
      client,
      `select (select count(*) from journal) as effects, (select count(distinct serial) from journal) as distinct_effects,
       (select count(*) from tallystick_inbox where state = 'dead') as dead,
       (select count(*) from tallystick_outbox) + (select count(*) from tallystick_call) as unsaid`,
    ),
  );
  return {
    made: ofA['made']!,
    open: ofA['open']!,
    effects: ofB['effects']!,
    distinctEffects: ofB['distinct_effects']!,
    deadInInbox: ofB['dead']!,
    unsaid: ofB['unsaid']!,
  };
}

export async function readAll({ serverA, serverB, a, b }: Databases): Promise<Reading> {
  const ofA = await serverA.with(a, async (client) => ({
    accountsA: await accounts(client),
    ledgerA: (await rows(client, 'select * from journal where number > 0 order by place')).map(ledgerRow),
    outbox: new Map(
      (await rows(client, 'select state, count(*) as n from tallystick_outbox group by state')).map((row) => [
        String(row['state']),
        Number(row['n']),
      ]),
    ),
    outboxBodies: (await numbers(client, 'select count(*) as n from tallystick_outbox_body'))['n']!,
    settlings: (await rows(client, 'select by_whom, holder, count(*) as n from settling group by by_whom, holder')).map(
      (row) => ({
        byWhom: String(row['by_whom']),
        holder: row['holder'] as string | null,
        count: Number(row['n']),
      }),
    ),
  }));
  const ofB = await serverB.with(b, async (client) => ({
    accountsB: await accounts(client),
    ledgerB: (await rows(client, 'select * from journal order by place')).map((row): CreditRow => ({
      ...ledgerRow(row),
      applied: Number(row['applied']),
      branch: row['branch'] as number | null,
    })),
    branches: (await rows(client, 'select id, total from branch order by id')).map((row) => ({
      id: Number(row['id']),
      total: BigInt(row['total'] as string),
    })),
    deadInInbox: await ids(client, `select id from tallystick_inbox where state = 'dead'`),
    heldAsOld: await ids(client, `select id from tallystick_inbox where state = 'dead' and last_outcome = 'old'`),
    arrivals: (await rows(client, 'select serial, number from arrival group by serial, number')).map((row) => ({
      serial: String(row['serial']),
      number: Number(row['number']),
    })),
  }));
  return { ...ofA, ...ofB };
}

/**
 * Serials that bank A counts as confirmed by their consumer and that have no effect in bank B. True at any moment: A is read first, and what is
 * settled there was committed in B before.
 */
export async function confirmedWithoutEffect({ serverA, serverB, a, b }: Databases): Promise<string[]> {
  const settled = await serverA.with(a, (client) =>
    ids(
      client,
      `select j.serial as id from journal j where number > 0
       and not exists (select 1 from tallystick_outbox o where o.id = j.serial and o.state <> 'confirmed')`,
    ),
  );
  const effects = new Set(await serverB.with(b, (client) => ids(client, 'select serial as id from journal')));
  return settled.filter((serial) => !effects.has(serial));
}

/** What a person would look at first: open messages, leases, and who does what in the databases. */
export async function whyStill({ serverA, serverB, a, b }: Databases): Promise<string> {
  const heads = `select sequence, shard, message_key, state, attempts, tries, due_at, last_error from`;
  const leases = `select scope, count(*), owner, min(epoch) as low, max(epoch) as high,
    min(expires_at - floor(extract(epoch from clock_timestamp()) * 1000)::bigint) as left_ms from tallystick_lease group by scope, owner`;
  const activity = `select application_name, state, wait_event_type, wait_event, xact_start is not null as in_transaction, left(query, 120) as query
    from pg_stat_activity where datname = current_database() and application_name <> 'checker'`;
  const seen: Record<string, unknown> = {};
  await serverA.with(a, async (client) => {
    seen['outbox'] = await rows(client, `${heads} tallystick_outbox order by sequence limit 5`);
    seen['leases of A'] = await rows(client, leases);
    seen['activity in A'] = await rows(client, activity);
  });
  await serverB.with(b, async (client) => {
    seen['inbox'] = await rows(client, `${heads} tallystick_inbox where state <> 'done' order by sequence limit 5`);
    seen['outbox of B'] = await rows(client, `${heads} tallystick_outbox order by sequence limit 5`);
    seen['calls of B'] = await rows(client, `${heads} tallystick_call order by sequence limit 5`);
    seen['leases of B'] = await rows(client, leases);
    seen['activity in B'] = await rows(client, activity);
  });
  return JSON.stringify(seen);
}

async function accounts(client: pg.Client): Promise<AccountRow[]> {
  return (await rows(client, 'select id, balance from account')).map((row) => ({
    id: String(row['id']),
    balance: BigInt(row['balance'] as string),
  }));
}

function ledgerRow(row: Readonly<Record<string, unknown>>): LedgerRow {
  return {
    serial: String(row['serial']),
    number: Number(row['number']),
    account: String(row['account']),
    amount: BigInt(row['amount'] as string),
    keySequence: Number(row['key_sequence']),
    note: String(row['note']),
  };
}

async function ids(client: pg.Client, sql: string): Promise<string[]> {
  return (await rows(client, sql)).map((row) => String(row['id']));
}

async function numbers(client: pg.Client, sql: string): Promise<Record<string, number>> {
  const [row] = await rows(client, sql);
  return Object.fromEntries(Object.entries(row ?? {}).map(([name, value]) => [name, Number(value)]));
}

async function rows(client: pg.Client, sql: string): Promise<Record<string, unknown>[]> {
  return (await client.query<Record<string, unknown>>(sql)).rows;
}
