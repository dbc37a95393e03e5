/**
 * What a person or a console needs: how many rows are in which state, which are in trouble and why, what one of them holds, which keys are held up,
 * and three buttons: try again, queue anew, bury. Reads take no lock and cost the same whatever the backlog; the buttons change only rows that
 * are given up or waiting to be tried, never their place in their key's order, say beforehand what they would change, and read back what they did.
 */
import type { Clock } from '@tallystick/base';
import { systemClock } from '@tallystick/base/node';
import { forgetBuried } from '../buried.ts';
import { headersFromText } from '../outbox/message.ts';
import type { Answer, Database } from '../sql/handles.ts';
import { atomically, type Session } from '../sql/session.ts';
import { run, type Steps } from '../sql/statement.ts';
import type { MessageTable, RowState } from '../sql/tables.ts';
import { asBytes, asNumber, asTextOrNull } from '../sql/values.ts';
import { act, bury, type ActOptions, type ActReport } from './act.ts';
import { listedRow, type ListedRow } from './listed-row.ts';
import { monitorStatementsOf, type Action, type MonitorStatements } from './monitor-statements.ts';
import { bodyPreview, type BodyPreview } from './preview.ts';
import { reach, type Reach } from './reach.ts';
import { select, type Selected, type Selection } from './selection.ts';
import { withTime } from './with-time.ts';

export interface MonitorSettings {
  /** Default `tallystick_outbox`. */
  readonly table?: MessageTable | undefined;
  /** Outbox: the channel. Inbox: the consumer. */
  readonly channel?: string | undefined;
  /** How long receivers remember the ids they have seen; older messages are warned of when they are sent again. Default 30 days. */
  readonly keysKeptMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** Rows per state, each counted up to {@link COUNT_MAX}. */
export type Counts = { readonly [S in RowState]: number } & {
  /** How long the oldest row waits that should have left, one that was requeued since then; 0 when there is none. What to alarm on. */
  readonly oldestMs: number;
};

/** Where counting stops: a count of so many means so many or more. */
export const COUNT_MAX = 100_000;

export interface ListQuery extends Omit<Selection, 'ids' | 'states'> {
  readonly state: RowState;
  /** Rows after this one: the last of the page before. */
  readonly after?: Pick<ListedRow, 'dueAt' | 'sequence'> | undefined;
}

/** A row with all that is kept of it, its body only as a beginning. */
export interface ShownRow extends ListedRow {
  readonly headers: ReadonlyMap<string, string>;
  /** Absent where there is no body, as with an inbox's done messages. */
  readonly body: BodyPreview | undefined;
}

/** A key whose messages wait for one that fails. */
export interface BlockedKey {
  readonly key: string;
  /** The message they wait for. */
  readonly row: ListedRow;
  /** How many wait behind it, counted up to 1000. */
  readonly behind: number;
}

export function createMonitor<H extends Database>(db: H, settings: MonitorSettings = {}): Monitor<H> {
  return new Monitor(db, settings);
}

export class Monitor<H extends Database> {
  readonly #reach: Reach;
  readonly #table: MessageTable;
  readonly #channel: string;
  readonly #keysKeptMs: number;
  readonly #clock: Clock;

  constructor(db: H, settings: MonitorSettings) {
    this.#reach = reach(db);
    this.#table = settings.table ?? 'tallystick_outbox';
    this.#channel = settings.channel ?? '';
    this.#keysKeptMs = settings.keysKeptMs ?? KEYS_KEPT_MS;
    this.#clock = settings.clock ?? systemClock;
  }

  counts(): Answer<H, Counts> {
    return this.#read((statements, nowMs) => countSteps(statements, this.#channel, nowMs));
  }

  /** Rows of a state in the order in which they fall due, with their last error. */
  list(query: ListQuery): Answer<H, ListedRow[]> {
    const { state, limit = 100, after, ...rest } = query;
    const meant = after === undefined ? undefined : { due: after.dueAt, sequence: after.sequence };
    return this.#read((statements, nowMs) => listSteps(statements, this.#channel, { ...rest, state, limit }, meant, nowMs));
  }

  /** Rows that are meant, in the order of their insertion. Without states: those that are dead or retrying. */
  select(selection: Selection): Answer<H, Selected> {
    const states = selection.states ?? TROUBLED;
    return this.#read((statements, nowMs) => select(statements, this.#channel, selection, states, nowMs));
  }

  /** One message with its headers and the first `bytes` bytes of its body (default 1024); undefined when it is not there (any more). */
  show(id: string, bytes = 1024): Answer<H, ShownRow | undefined> {
    return this.#read((statements) => showSteps(statements, this.#channel, id, bytes));
  }

  /** Keys whose messages wait for one that is dead or retrying; at most `limit` (default 100), those that are due first. */
  blockedKeys(limit = 100): Answer<H, BlockedKey[]> {
    return this.#read((statements) => blockedSteps(statements, this.#channel, limit));
  }

  /**
   * Says what an action would do to the rows meant, or does it: each row by itself, in the order of insertion, with what it is afterwards. A relay
   * sees a row as before or as after, and no message overtakes another of its key.
   */
  act(action: Action, selection: Selection, options: ActOptions = {}): Answer<H, ActReport> {
    const order = { action, selection, options, table: this.#table, channel: this.#channel, keysKeptMs: this.#keysKeptMs };
    return this.#answer(this.#reach.performAlone((session) => actSteps(session, this.#statements(session), order, this.#clock)));
  }

  /** A dead, buried or retrying message is due at once, with a fresh account of attempts; it keeps its place in its key's order. */
  retryNow(id: string): Answer<H, boolean> {
    return this.#read((statements, now) => changed(statements.requeue({ channel: this.#channel, id, now })));
  }

  /** A dead, retrying, delayed or unconfirmed message shall not leave; later messages of its key go on. The row stays, with the reason. */
  bury(id: string, reason: string): Answer<H, boolean> {
    const order = { table: this.#table, channel: this.#channel };
    return this.#answer(
      this.#reach.perform((session) => {
        const statements = this.#statements(session);
        return withTime(statements, this.#clock, (_, nowMs) => burySteps(session, statements, { ...order, nowMs }, id, reason));
      }),
    );
  }

  /**
   * Deletes what was buried longer than `olderThanMs` ago, and came to the inbox no more since, at most `rowsMax` messages in one transaction, the oldest first; returns how many.
   * Relays and inboxes do the same, after `keepBuriedMs`.
   */
  forgetBuried(olderThanMs: number, rowsMax = 10_000): Answer<H, number> {
    const old = { table: this.#table, channel: this.#channel, olderThanMs, evenUndated: true, rowsMax };
    return this.#answer(this.#reach.performAlone(({ dialect }) => atomically(dialect, forgetBuried(dialect, this.#clock, old))));
  }

  #read<T>(steps: (statements: MonitorStatements, nowMs: number) => Steps<T>): Answer<H, T> {
    return this.#answer(this.#reach.perform((session) => withTime(this.#statements(session), this.#clock, steps)));
  }

  #statements(session: Session): MonitorStatements {
    return monitorStatementsOf(session.dialect)(this.#table);
  }

  #answer<T>(answer: T | Promise<T>): Answer<H, T> {
    return answer as Answer<H, T>;
  }
}

export const KEYS_KEPT_MS = 30 * 86_400_000;
const TROUBLED: readonly RowState[] = ['dead', 'retrying'];

function* changed(statement: Parameters<typeof run>[0]): Steps<boolean> {
  return (yield* run(statement)).changes > 0;
}

function* burySteps(
  { dialect }: Session,
  statements: MonitorStatements,
  order: Pick<ActOrder, 'table' | 'channel' | 'nowMs'>,
  id: string,
  reason: string,
): Steps<boolean> {
  const row = (yield* run(statements.byIds({ channel: order.channel }, [id]))).rows[0];
  return row !== undefined && (yield* bury(dialect, statements, order, listedRow(row), reason));
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
  for (const state of Object.keys(counts) as RowState[]) {
    const { rows } = yield* run(statements.count({ channel, state, limit: COUNT_MAX }));
    counts[state] = asNumber(rows[0]?.['rows']);
  }
  return { ...counts, oldestMs: yield* oldestUnsentMs(statements, channel, nowMs) };
}

/**
 * How long the oldest message waits that should have left, one that was requeued since then; of those that were tried, among the first 10,000 to
 * fall due.
 */
export function* oldestUnsentMs(statements: MonitorStatements, channel: string, nowMs: number): Steps<number> {
  const waiting = (yield* run(statements.first({ channel, state: 'waiting' }))).rows[0]?.['created_at'];
  const retrying = (yield* run(statements.oldest({ channel, state: 'retrying', limit: OLDEST_AMONG }))).rows[0]?.['since'];
  // Not older than the time it was planned for.
  const planned = (yield* run(statements.firstDue({ channel, state: 'delayed' }))).rows[0]?.['due_at'];
  const since = [waiting, retrying, planned].filter((at) => at !== undefined && at !== null).map(asNumber);
  return since.length === 0 ? 0 : Math.max(0, nowMs - Math.min(...since));
}

export const OLDEST_AMONG = 10_000;

function* listSteps(
  statements: MonitorStatements,
  channel: string,
  { state, limit, ...rest }: Selection & { readonly state: RowState; readonly limit: number },
  after: { readonly due: number; readonly sequence: number } | undefined,
  nowMs: number,
): Steps<ListedRow[]> {
  const restricted = Object.values(rest).some((value) => value !== undefined);
  if (restricted) return [...(yield* select(statements, channel, { ...rest, limit }, [state], nowMs)).rows];
  const { rows } = yield* run(statements.page({ channel, state, due: after?.due ?? 0, after: after?.sequence ?? -1, limit }));
  return rows.map(listedRow);
}

function* showSteps(statements: MonitorStatements, channel: string, id: string, bytes: number): Steps<ShownRow | undefined> {
  const head = (yield* run(statements.byIds({ channel }, [id]))).rows[0];
  if (head === undefined) return undefined;
  const row = listedRow(head);
  const body = (yield* run(statements.preview({ channel, id, bytes }))).rows[0];
  return {
    ...row,
    headers: headersFromText(asTextOrNull(body?.['headers'])),
    body: body === undefined ? undefined : bodyPreview(asBytes(body['start']), row.bodyBytes),
  };
}

function* blockedSteps(statements: MonitorStatements, channel: string, limit: number): Steps<BlockedKey[]> {
  const first = new Map<string, ListedRow>();
  for (const state of TROUBLED) {
    const { rows } = yield* run(statements.blocking({ channel, state, limit: BLOCKED_AMONG }));
    for (const row of rows.map(listedRow)) {
      const { key } = row;
      if (key === null) continue;
      const other = first.get(key);
      if (other === undefined || row.sequence < other.sequence) first.set(key, row);
    }
  }
  const keys: BlockedKey[] = [];
  for (const [key, row] of [...first].slice(0, limit)) {
    const { rows } = yield* run(statements.behind({ channel, key, after: row.sequence, limit: BEHIND_MAX }));
    keys.push({ key, row, behind: asNumber(rows[0]?.['rows']) });
  }
  return keys;
}

export const BLOCKED_AMONG = 1000;
const BEHIND_MAX = 1000;

type ActOrder = Parameters<typeof act>[2];

function actSteps(
  session: Session,
  statements: MonitorStatements,
  order: Omit<ActOrder, 'nowMs'>,
  clock: Clock,
): Steps<ActReport> {
  return withTime(statements, clock, (_, nowMs) => act(session.dialect, statements, { ...order, nowMs }));
}
