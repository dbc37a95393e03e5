/**
 * Which rows of a message table a person means. The database is asked along an index (ids, key, business key, or states in the order of
 * their due time); what the other conditions leave out is left out here, so no condition makes a statement that has to read the whole table. How
 * many rows are looked at is bounded, and whether that was enough is told.
 */
import { LIST_MAX, run, type Steps } from '../sql/statement.ts';
import type { RowState } from '../sql/tables.ts';
import { listedRow, type ListedRow } from './listed-row.ts';
import type { MonitorStatements } from './monitor-statements.ts';

export interface Selection {
  readonly ids?: readonly string[] | undefined;
  /** In these states; what is meant without it depends on what is asked for. */
  readonly states?: readonly RowState[] | undefined;
  readonly key?: string | undefined;
  readonly businessKey?: string | undefined;
  readonly topic?: string | undefined;
  readonly type?: string | undefined;
  readonly module?: string | undefined;
  /** A part of the last error, upper and lower case alike. */
  readonly error?: string | undefined;
  readonly outcome?: string | undefined;
  /** Added longer ago than this. */
  readonly olderThanMs?: number | undefined;
  /** At most this many; default 1000. */
  readonly limit?: number | undefined;
}

export interface Selected {
  readonly rows: readonly ListedRow[];
  /** False: there may be more than `limit`, or than could be found among the first 100,000 rows looked at. */
  readonly complete: boolean;
}

/** Rows looked at before a selection gives up: a tenth of a second of reading. */
export const LOOKED_AT_MAX = 100_000;
export const LIMIT_DEFAULT = 1000;
const PAGE = 1000;

/** Rows that are meant, in the order of `sequence`: the order of every key. */
export function* select(
  statements: MonitorStatements,
  channel: string,
  selection: Selection,
  states: readonly RowState[],
  nowMs: number,
): Steps<Selected> {
  const limit = selection.limit ?? LIMIT_DEFAULT;
  const search: Search = { selection, states: new Set(states), nowMs, limit, rows: [], looked: 0 };
  let complete = true;
  if (selection.ids !== undefined) {
    for (let at = 0; at < selection.ids.length; at += LIST_MAX) {
      const ids = selection.ids.slice(at, at + LIST_MAX);
      const { rows } = yield* run(statements.byIds({ channel }, ids));
      if (!look(search, rows.map(listedRow))) complete = false;
    }
  } else if (selection.businessKey !== undefined) {
    const key = selection.businessKey;
    complete = yield* pages(search, (last) =>
      statements.businessPage({ channel, key, after: last?.sequence ?? -1, limit: PAGE }),
    );
  } else {
    for (const state of states) {
      const { key } = selection;
      const every = yield* pages(search, (last) =>
        key === undefined
          ? statements.page({ channel, state, due: last?.dueAt ?? 0, after: last?.sequence ?? -1, limit: PAGE })
          : statements.keyPage({ channel, state, key, after: last?.sequence ?? -1, limit: PAGE }),
      );
      if (!every) complete = false;
    }
  }
  return { rows: search.rows.toSorted((a, b) => a.sequence - b.sequence), complete };
}

interface Search {
  readonly selection: Selection;
  readonly states: ReadonlySet<RowState>;
  readonly nowMs: number;
  readonly limit: number;
  readonly rows: ListedRow[];
  looked: number;
}

/** Page after page until the last; false when it ended before. */
function* pages(search: Search, page: (last: ListedRow | undefined) => Parameters<typeof run>[0]): Steps<boolean> {
  let last: ListedRow | undefined;
  while (search.looked < LOOKED_AT_MAX) {
    const found = (yield* run(page(last))).rows.map(listedRow);
    if (!look(search, found)) return false;
    if (found.length < PAGE) return true;
    last = found.at(-1);
  }
  return false;
}

/** Takes what is meant; false when one more was meant than may be taken. */
function look(search: Search, found: readonly ListedRow[]): boolean {
  search.looked += found.length;
  for (const row of found) {
    if (!means(search, row)) continue;
    if (search.rows.length >= search.limit) return false;
    search.rows.push(row);
  }
  return true;
}

function means({ selection, states, nowMs }: Search, row: ListedRow): boolean {
  const { key, businessKey, topic, type, module, error, outcome, olderThanMs } = selection;
  return (
    // Rows that were named are shown in whatever state they are.
    (selection.ids !== undefined || states.has(row.state)) &&
    (key === undefined || row.key === key) &&
    (businessKey === undefined || row.businessKey === businessKey) &&
    (topic === undefined || row.topic === topic) &&
    (type === undefined || row.type === type) &&
    (module === undefined || row.module === module) &&
    (outcome === undefined || row.lastOutcome === outcome) &&
    (error === undefined || (row.lastError ?? '').toLowerCase().includes(error.toLowerCase())) &&
    (olderThanMs === undefined || row.createdAt < nowMs - olderThanMs)
  );
}
