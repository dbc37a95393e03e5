/**
 * What a person or a console needs: how many rows are in which state, which are in trouble and why, and the two buttons, try again and
 * bury. Reads take no lock; the buttons change only rows that a relay has given up or is waiting with, and say whether they did.
 */
import { perDialect, type Dialect } from './sql/dialect.ts';
import type { Clock } from '@tallystick/base';
import { systemClock } from '@tallystick/base/node';
import type { Answer, Handle } from './sql/handles.ts';
import { atomically, perform, sessionOf, type Session } from './sql/session.ts';
import { hole, prepared, run, type Steps } from './sql/statement.ts';
import { bodyAs, headAs, type MessageTable, type RowState } from './sql/tables.ts';
import { asNumber, asText, asTextOrNull } from './sql/values.ts';

export interface MonitorSettings {
  /** Default `tallystick_outbox`. */
  readonly table?: MessageTable | undefined;
  readonly channel?: string | undefined;
  readonly clock?: Clock | undefined;
}

export type Counts = { readonly [S in RowState]: number } & {
  /** Age of the oldest row that is waiting or retrying; 0 when there is none. What to alarm on. */
  readonly oldestMs: number;
};

export interface ListedRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly tag: string | null;
  readonly state: RowState;
  readonly attempts: number;
  readonly tries: number;
  readonly lastOutcome: string | null;
  readonly lastError: string | null;
  /** ms since 1970; 0 when it is due at once. */
  readonly dueAt: number;
  readonly createdAt: number;
  readonly bodyBytes: number;
  readonly sequence: number;
}

export interface ListQuery {
  readonly state: RowState;
  /** At most this many; default 100. */
  readonly limit?: number | undefined;
  /** Rows after this `sequence`: the last of the page before. */
  readonly after?: number | undefined;
}

export function createMonitor<H extends Handle>(db: H, settings: MonitorSettings = {}): Monitor<H> {
  return new Monitor(db, settings);
}

export class Monitor<H extends Handle> {
  readonly #session: Session;
  readonly #statements: MonitorStatements;
  readonly #channel: string;
  readonly #clock: Clock;

  constructor(db: H, settings: MonitorSettings) {
    this.#session = sessionOf(db);
    this.#statements = statementsOf(this.#session.dialect)(settings.table ?? 'tallystick_outbox');
    this.#channel = settings.channel ?? '';
    this.#clock = settings.clock ?? systemClock;
  }

  counts(): Answer<H, Counts> {
    return this.#perform(countSteps(this.#statements, this.#channel, this.#clock.now()));
  }

  /** Rows of a state, oldest first, with their last error. */
  list({ state, limit = 100, after = -1 }: ListQuery): Answer<H, ListedRow[]> {
    return this.#perform(listSteps(this.#statements, { channel: this.#channel, state, limit, after }));
  }

  /** A dead, buried or waiting-to-retry message is due at once, with a fresh account of attempts; it keeps its place in its key's order. */
  retryNow(id: string): Answer<H, boolean> {
    return this.#perform(changed(this.#statements.retryNow({ channel: this.#channel, id, now: this.#clock.now() })));
  }

  /** A dead or retrying message shall not leave; later messages of its key go on. The row stays, with the reason. */
  bury(id: string, reason: string): Answer<H, boolean> {
    return this.#perform(
      changed(this.#statements.bury({ channel: this.#channel, id, reason: reason.slice(0, 500), now: this.#clock.now() })),
    );
  }

  /** Deletes what was buried longer than `olderThanMs` ago; returns how many. Nothing else ever removes a buried message. */
  forgetBuried(olderThanMs: number): Answer<H, number> {
    const before = this.#clock.now() - olderThanMs;
    return this.#perform(atomically(this.#session.dialect, forgetSteps(this.#statements, { channel: this.#channel, before })));
  }

  #perform<T>(steps: Steps<T>): Answer<H, T> {
    return perform(this.#session, steps) as Answer<H, T>;
  }
}

function* changed(statement: Parameters<typeof run>[0]): Steps<boolean> {
  return (yield* run(statement)).changes > 0;
}

function* countSteps(statements: MonitorStatements, channel: string, nowMs: number): Steps<Counts> {
  const counts: Record<RowState, number> = {
    waiting: 0,
    delayed: 0,
    retrying: 0,
    dead: 0,
    buried: 0,
    sent: 0,
    confirmed: 0,
    done: 0,
  };
  let oldest = nowMs;
  const { rows } = yield* run(statements.counts({ channel }));
  for (const row of rows) {
    const state = asText(row['state']) as RowState;
    counts[state] = asNumber(row['rows']);
    if (state === 'waiting' || state === 'retrying') oldest = Math.min(oldest, asNumber(row['oldest']));
  }
  return { ...counts, oldestMs: nowMs - oldest };
}

function* listSteps(
  statements: MonitorStatements,
  query: Readonly<Record<'channel' | 'state', string> & Record<'limit' | 'after', number>>,
): Steps<ListedRow[]> {
  const { rows } = yield* run(statements.list(query));
  return rows.map((row) => ({
    id: asText(row['id']),
    topic: asText(row['topic']),
    key: asTextOrNull(row['message_key']),
    tag: asTextOrNull(row['tag']),
    state: asText(row['state']) as RowState,
    attempts: asNumber(row['attempts']),
    tries: asNumber(row['tries']),
    lastOutcome: asTextOrNull(row['last_outcome']),
    lastError: asTextOrNull(row['last_error']),
    dueAt: asNumber(row['due_at']),
    createdAt: asNumber(row['created_at']),
    bodyBytes: asNumber(row['body_bytes']),
    sequence: asNumber(row['sequence']),
  }));
}

function* forgetSteps(statements: MonitorStatements, old: Readonly<{ channel: string; before: number }>): Steps<number> {
  yield statements.forgetBodies(old);
  return (yield* run(statements.forgetHeads(old))).changes;
}

type MonitorStatements = ReturnType<ReturnType<typeof statementsOf>>;

const statementsOf = perDialect((dialect) => (table: MessageTable) => monitorStatements(dialect, table));

function monitorStatements({ build }: Dialect, table: MessageTable) {
  const head = headAs(table);
  const buried = build
    .selectFrom(head)
    .where('channel', '=', hole<string>('channel'))
    .where('state', '=', 'buried')
    .where('changed_at', '<', hole<number>('before'));
  return {
    counts: prepared<'channel'>(
      build
        .selectFrom(head)
        .select((of) => ['state', of.fn.countAll().as('rows'), of.fn.min('created_at').as('oldest')])
        .where('channel', '=', hole<string>('channel'))
        .groupBy('state'),
    ),
    list: prepared<'channel' | 'state' | 'after' | 'limit'>(
      build
        .selectFrom(head)
        .selectAll()
        .where('channel', '=', hole<string>('channel'))
        .where('state', '=', hole<RowState>('state'))
        .where('sequence', '>', hole<number>('after'))
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    forgetBodies: prepared<'channel' | 'before'>(
      build.deleteFrom(bodyAs(table)).where('channel', '=', hole<string>('channel')).where('id', 'in', buried.select('id')),
    ),
    forgetHeads: prepared<'channel' | 'before'>(
      build
        .deleteFrom(head)
        .where('channel', '=', hole<string>('channel'))
        .where('state', '=', 'buried')
        .where('changed_at', '<', hole<number>('before')),
    ),
    retryNow: prepared<'channel' | 'id' | 'now'>(
      build
        .updateTable(head)
        .set({ state: 'retrying', attempts: 0, tries: 0, due_at: hole<number>('now'), changed_at: hole<number>('now') })
        .where('channel', '=', hole<string>('channel'))
        .where('id', '=', hole<string>('id'))
        .where('state', 'in', ['dead', 'buried', 'retrying']),
    ),
    bury: prepared<'channel' | 'id' | 'reason' | 'now'>(
      build
        .updateTable(head)
        .set({ state: 'buried', due_at: 0, last_error: hole<string>('reason'), changed_at: hole<number>('now') })
        .where('channel', '=', hole<string>('channel'))
        .where('id', '=', hole<string>('id'))
        .where('state', 'in', ['dead', 'retrying']),
    ),
  };
}
