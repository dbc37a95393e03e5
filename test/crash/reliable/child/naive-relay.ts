/**
 * A relay as people write it the first time, with one well-known defect each: it exists to be caught. Without a defect it stands for a
 * program from before schema version 2, which knows only that version's columns.
 *
 * - `last-id`: remembers the greatest number it has seen and asks only for greater ones;
 * - `newest-first`: takes the newest messages first;
 * - `all-at-once`: reads all there is;
 * - `skip-locked`: takes what nobody else has locked, so that the messages of a key are with several relays at once;
 * - `lock-table`: so that nobody comes between, locks the table while it sends all there is;
 * - `no-fence`: takes the leases properly and settles without asking whether they still hold.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Transport } from '@tallystick/reliable';
import type { ChildOptions, Line } from './line.ts';
import pg from 'pg';

const PAUSE_MS = 50;
const ROWS = 50;
const ROWS_LOCKED = 5;
const RANGES = 16;

interface OutboxRow {
  readonly sequence: string;
  readonly id: string;
  readonly message_key: string;
  readonly topic: string;
  readonly body: Buffer;
}

export type NaiveDefect = 'none' | 'last-id' | 'newest-first' | 'all-at-once' | 'skip-locked' | 'lock-table' | 'no-fence';

export class NaiveRelay {
  private readonly options: ChildOptions;
  private readonly line: Line;
  private readonly transport: Transport;
  private readonly defect: NaiveDefect;
  private last = 0;

  constructor(options: ChildOptions, line: Line, transport: Transport, defect: NaiveDefect) {
    this.options = options;
    this.line = line;
    this.transport = transport;
    this.defect = defect;
  }

  async run(): Promise<void> {
    const client = new pg.Client({ connectionString: this.options.a });
    await client.connect();
    await client.query(
      `insert into tallystick_lease (scope, first_shard, last_shard, owner, epoch, expires_at)
       select 'tallystick_outbox', n, n + 15, '', 0, 0 from generate_series(0, 240, 16) n on conflict do nothing`,
    );
    for (;;) {
      if (!this.locks) await this.takeLeases(client);
      if ((await this.round(client)) === 0) await sleep(PAUSE_MS);
    }
  }

  private async takeLeases(client: pg.Client): Promise<void> {
    await client.query(
      `update tallystick_lease set owner = $1, epoch = epoch + case when owner = $1 then 0 else 1 end, expires_at = t.now + $2
       from (select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now) t
       where scope = 'tallystick_outbox' and (owner in ('', $1) or expires_at <= t.now)`,
      [this.options.name, this.options.leaseMs],
    );
  }

  private get locks(): boolean {
    return this.defect === 'skip-locked' || this.defect === 'lock-table';
  }

  private async round(client: pg.Client): Promise<number> {
    if (this.locks) return this.lockedRound(client);
    const { rows } = await client.query<OutboxRow>(
      `select h.sequence, h.id, h.message_key, h.topic, b.body from tallystick_outbox h join tallystick_outbox_body b using (id, channel)
       join tallystick_lease l on l.scope = 'tallystick_outbox' and h.shard between l.first_shard and l.last_shard and l.owner = $3
       where h.sequence > $1 order by h.sequence ${this.defect === 'newest-first' ? 'desc' : ''} limit $2`,
      [this.last, this.defect === 'all-at-once' ? null : ROWS, this.options.name],
    );
    if (rows.length === 0) return 0;
    if (this.defect === 'last-id') this.last = Math.max(...rows.map(({ sequence }) => Number(sequence)));
    const confirmed = await this.publish(rows);
    await this.line.reached('before-settle', confirmed.length, confirmed[0] ?? '');
    await client.query('begin');
    if (this.defect !== 'no-fence') {
      const { rowCount } = await client.query(
        `select 1 from tallystick_lease where scope = 'tallystick_outbox' and owner = $1 and expires_at > $2 for share`,
        [this.options.name, Date.now()],
      );
      if ((rowCount ?? 0) < RANGES) confirmed.length = 0;
    }
    await settle(client, confirmed);
    return rows.length;
  }

  /** As a queue in a table is often built: claimed, sent and settled in one transaction, past the rows of others. */
  private async lockedRound(client: pg.Client): Promise<number> {
    await client.query('begin');
    if (this.defect === 'lock-table') await client.query('lock table tallystick_outbox in exclusive mode');
    const { rows } = await client.query<OutboxRow>(
      `select h.sequence, h.id, h.message_key, h.topic, b.body from tallystick_outbox h join tallystick_outbox_body b using (id, channel)
       order by h.sequence limit $1 for update of h skip locked`,
      [this.defect === 'lock-table' ? null : ROWS_LOCKED],
    );
    await settle(client, await this.publish(rows));
    return rows.length;
  }

  /** One after the other: the only disorder is the one it was made for. Those that the broker has confirmed. */
  private async publish(rows: readonly OutboxRow[]): Promise<string[]> {
    const confirmed: string[] = [];
    for (const { id, message_key: key, topic, body } of rows) {
      const [answer] = await this.transport.publish([{ id, key, topic, body }]);
      if (answer?.outcome === 'confirmed') confirmed.push(id);
    }
    return confirmed;
  }
}

/** Ends the transaction that is open. */
async function settle(client: pg.Client, ids: readonly string[]): Promise<void> {
  await client.query('delete from tallystick_outbox where id = any($1)', [ids]);
  await client.query('delete from tallystick_outbox_body where id = any($1)', [ids]);
  await client.query('commit');
}
