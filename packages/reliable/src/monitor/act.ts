/**
 * The three buttons, for one row or for many: what is meant is selected, what would be changed is told, and only when it is said so is it changed, each
 * row by a statement of its own that names the states it may be in, so that what a relay did meanwhile stands. Then every row is read back.
 *
 * A relay may have handed a message to the broker by then. What is buried while it is in the air may leave all the same: confirmed, it is settled and
 * gone; one that is kept for its status, or waits for its consumer's confirmation, stays buried. A push
 * that was begun before a requeue and fails is not counted.
 */
import { sentAtFrom } from '../inbox/kept.ts';
import { letNextGo } from '../inbox/standing-behind.ts';
import { rowWarning } from '../inbox/window.ts';
import type { Dialect } from '../sql/dialect.ts';
import { atomically } from '../sql/session.ts';
import { pieces, run, type Steps } from '../sql/statement.ts';
import type { MessageTable, RowState } from '../sql/tables.ts';
import { asTextOrNull, reasonText } from '../sql/values.ts';
import { listedRow, type ListedRow } from './listed-row.ts';
import { ACTIONS, type Action, type MonitorStatements } from './monitor-statements.ts';
import { select, type Selection } from './selection.ts';

export interface ActOptions {
  /** False (default): only say what would be done. */
  readonly execute?: boolean | undefined;
  /** For `bury`: kept as the row's last error. */
  readonly reason?: string | undefined;
}

export interface ActReport {
  readonly action: Action;
  readonly executed: boolean;
  /** Rows that were changed, or would be. */
  readonly changed: number;
  /** False: more rows are meant than `limit`; act again for the rest. */
  readonly complete: boolean;
  readonly items: readonly ActItem[];
}

export interface ActItem {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly from: RowState | 'absent';
  /** Read back afterwards. `gone`: settled meanwhile, so it has left. Without `execute` what the row is now. */
  readonly state: RowState | 'gone' | 'absent';
  readonly result: 'changed' | 'would change' | 'refused';
  /** Why it was refused, or what to think of before doing it. */
  readonly note?: string | undefined;
}

interface ActOrder {
  readonly action: Action;
  readonly selection: Selection;
  readonly options: ActOptions;
  readonly table: MessageTable;
  readonly channel: string;
  readonly keysKeptMs: number;
  readonly nowMs: number;
}

/** With what the senders of the rows that are meant said about their age. */
interface DatedOrder extends ActOrder {
  readonly sentAt: ReadonlyMap<string, number | undefined>;
}

export function* act(dialect: Dialect, statements: MonitorStatements, given: ActOrder): Steps<ActReport> {
  const { action, selection, options, channel, nowMs } = given;
  const states = selection.states ?? ACTIONS[action].filter((state) => DEFAULT_STATES[action].includes(state));
  const { rows, complete } = yield* select(statements, channel, selection, states, nowMs);
  const absent = absentOf(selection, rows);
  const order: DatedOrder = { ...given, sentAt: yield* sentAtOf(statements, given, rows) };
  if (options.execute !== true) {
    const items = [...rows.map((row) => planned(row, order)), ...absent];
    return { action, executed: false, changed: items.filter(({ result }) => result === 'would change').length, complete, items };
  }
  const changed = new Set<string>();
  const after = new Map<string, ListedRow>();
  for (const piece of pieces(rows)) {
    yield* atomically(dialect, change(dialect, statements, order, piece, changed));
    const back = yield* run(
      statements.byIds(
        { channel },
        piece.map(({ id }) => id),
      ),
    );
    for (const row of back.rows.map(listedRow)) after.set(row.id, row);
  }
  const items = [...rows.map((row) => done(row, order, changed.has(row.id), after.get(row.id)?.state ?? 'gone')), ...absent];
  return { action, executed: true, changed: changed.size, complete, items };
}

/** Only the inbox keeps it, among the headers; asked for before anything is changed. */
function* sentAtOf(
  statements: MonitorStatements,
  { action, table, channel }: ActOrder,
  rows: readonly ListedRow[],
): Steps<Map<string, number | undefined>> {
  const sentAt = new Map<string, number | undefined>();
  if (table !== 'tallystick_inbox' || action === 'bury') return sentAt;
  for (const { id } of rows) {
    const [found] = (yield* run(statements.preview({ channel, id, bytes: 0 }))).rows;
    sentAt.set(id, sentAtFrom(asTextOrNull(found?.['headers'])));
  }
  return sentAt;
}

/** Without states and ids, what is meant is what is in trouble; what was sent or is planned has to be asked for. */
const DEFAULT_STATES: Readonly<Record<Action, readonly RowState[]>> = {
  retry: ['retrying', 'dead'],
  requeue: ['dead', 'buried'],
  bury: ['dead'],
};

function* change(
  dialect: Dialect,
  statements: MonitorStatements,
  order: ActOrder,
  rows: readonly ListedRow[],
  changed: Set<string>,
): Steps<void> {
  const { action, options, channel, nowMs: now } = order;
  for (const row of rows) {
    const done =
      action === 'bury'
        ? yield* bury(dialect, statements, order, row, options.reason ?? 'buried by a person')
        : (yield* run(statements[action]({ channel, id: row.id, now }))).changes > 0;
    if (done) changed.add(row.id);
  }
}

/** The next message of an inbox's key is due by then; a relay finds it by itself. */
export function* bury(
  dialect: Dialect,
  statements: MonitorStatements,
  { table, channel, nowMs: now }: Pick<ActOrder, 'table' | 'channel' | 'nowMs'>,
  { id, key, sequence }: Pick<ListedRow, 'id' | 'key' | 'sequence'>,
  reason: string,
): Steps<boolean> {
  const { changes } = yield* run(statements.bury({ channel, id, reason: reasonText(reason), now }));
  if (changes === 0) return false;
  if (table === 'tallystick_inbox' && key !== null) yield* letNextGo(dialect, { channel, key, sequence }, now);
  return true;
}

function absentOf({ ids }: Selection, rows: readonly ListedRow[]): ActItem[] {
  const found = new Set(rows.map(({ id }) => id));
  return (ids ?? [])
    .filter((id) => !found.has(id))
    .map((id) => ({
      id,
      topic: '',
      key: null,
      from: 'absent',
      state: 'absent',
      result: 'refused',
      note: 'there is no such message; it may have left',
    }));
}

function planned(row: ListedRow, order: DatedOrder): ActItem {
  return item(row, order, isPossible(row, order) ? 'would change' : 'refused', row.state);
}

function isPossible({ state }: ListedRow, { action }: ActOrder): boolean {
  return (ACTIONS[action] as readonly RowState[]).includes(state);
}

function done(row: ListedRow, order: DatedOrder, changed: boolean, state: RowState | 'gone'): ActItem {
  return item(row, order, changed ? 'changed' : 'refused', state);
}

function item(row: ListedRow, order: DatedOrder, result: ActItem['result'], state: ActItem['state']): ActItem {
  const { id, topic, key, state: from } = row;
  const note = result === 'refused' ? refusal(row, order) : ageNote(row, order);
  return note === undefined ? { id, topic, key, from, state, result } : { id, topic, key, from, state, result, note };
}

function refusal(row: ListedRow, order: ActOrder): string {
  if (isPossible(row, order)) return 'it changed meanwhile; act again if it is still there';
  return `a message that is ${row.state} cannot be ${PAST[order.action]}`;
}

const PAST: Readonly<Record<Action, string>> = { retry: 'retried', requeue: 'queued anew', bury: 'buried' };

/** A repeat is harmless only while the receiver remembers the first. */
function ageNote(row: ListedRow, { action, table, keysKeptMs, nowMs, sentAt }: DatedOrder): string | undefined {
  if (action === 'bury') return undefined;
  if (table === 'tallystick_inbox') return rowWarning({ ...row, sentAt: sentAt.get(row.id) }, keysKeptMs, nowMs);
  const ageMs = nowMs - row.createdAt;
  if (ageMs <= keysKeptMs) return undefined;
  const days = (ms: number): number => Math.floor(ms / 86_400_000);
  return `it is ${days(ageMs)} days old, and receivers keep keys for ${days(keysKeptMs)} days: one that has it already may do it twice`;
}
