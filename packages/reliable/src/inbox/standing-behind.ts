/**
 * Messages that stand behind an earlier one of their key, which fails or waits. They must not be walked over by every look for due rows, or
 * a hundred thousand of them keep every other message waiting; so a look that meets one puts it off, and whatever takes a message out of its
 * key's order (its effect, its burial, its death where the dead hold nobody) lets the next one go, in the same transaction.
 *
 * ```
 * due        → met by a look, stands behind              → put off: due again after as long as it has waited already
 * put off    → the message that it stood behind is gone  → due now
 *            → its time is over                          → due: the next look decides anew
 * ```
 *
 * Lost is nothing. Each change of `due_at` leaves another value, and putting off asks for the one that was read: so a message that was let go
 * after a look had read it stays let go. One that was not there yet when the last before it let go may be put off all the same; it is young then,
 * and so is soon due again. The same finds what somebody has settled who lets nobody go: an older version, a person's own SQL.
 */
import { sql, type RawBuilder } from 'kysely';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { hole, prepared, run, type Prepared, type Steps } from '../sql/statement.ts';
import type { RowState } from '../sql/tables.ts';
import { asNumber } from '../sql/values.ts';
import { earlierOfKey, nowOnce } from '../relay/relay-statements.ts';
import { listText } from '../relay/postgres-statements.ts';

/** States in which a message waits for an attempt. */
export const OPEN: readonly RowState[] = ['retrying', 'delayed', 'waiting'];

/** Whether an earlier message of the key of row `h` holds it. */
export function standsBehind(dialect: Dialect, holding: readonly RowState[]): RawBuilder<unknown> {
  return sql`(h.message_key is not null and (${sql.join(
    holding.map((state) => earlierOfKey(dialect, 'tallystick_inbox', state)),
    sql` or `,
  )}))`;
}

/** A row as a look has read it. */
export interface ReadRow {
  readonly sequence: number;
  readonly dueAt: number;
}

/** Puts off rows that stand behind others, unless they have changed since they were read. */
export function* putOff(dialect: Dialect, rows: readonly ReadRow[], now: number): Steps<void> {
  const { putOffTogether, putOffOne } = standingStatements(dialect);
  if (putOffTogether === undefined) {
    for (const { sequence, dueAt } of rows) yield putOffOne({ sequence, dueAt, now });
    return;
  }
  const sequences = listText(rows.map(({ sequence }) => sequence));
  const dues = JSON.stringify(Object.fromEntries(rows.map(({ sequence, dueAt }) => [sequence, dueAt])));
  yield putOffTogether({ sequences, dues, now });
}

/** A message that is no longer in its key's order: the next of them is due. */
export interface GoneRow {
  readonly channel: string;
  readonly key: string;
  readonly sequence: number;
}

/** Last in the transaction: what it changes is locked until the commit. One that another transaction has just settled is passed over. */
export function* letNextGo(dialect: Dialect, { channel, key, sequence }: GoneRow, now: number): Steps<void> {
  const { next, letGo } = standingStatements(dialect);
  for (let after = sequence; ;) {
    const { rows } = yield* run(next({ channel, key, after }));
    const found = rows[0]?.['sequence'];
    if (found === undefined || found === null) return;
    after = asNumber(found);
    if ((yield* run(letGo({ sequence: after, now }))).changes > 0) return;
  }
}

/** How long a row is put off at least and at most; at the upper end a hundred thousand rows are some twenty looked at in a second. */
const PUT_OFF_MIN_MS = 5_000;
const PUT_OFF_MAX_MS = 3_600_000;

export const standingStatements = perDialect((dialect) => {
  const head = sql.table('tallystick_inbox');
  const now = nowOnce(dialect);
  const compiled = <Name extends string>(text: RawBuilder<unknown>): Prepared<Name> =>
    prepared<Name>({ compile: () => text.compile(dialect.build) });
  const open = sql`coalesce(state, '') in (${sql.join(OPEN.map((state) => sql.lit(state)))})`;
  // Between half of that and the whole, each row its own: those that came together do not come due together.
  const waited = sql`(case when ${now} - created_at < ${sql.lit(PUT_OFF_MIN_MS)} then ${sql.lit(PUT_OFF_MIN_MS)}
    when ${now} - created_at > ${sql.lit(PUT_OFF_MAX_MS)} then ${sql.lit(PUT_OFF_MAX_MS)} else ${now} - created_at end)`;
  const later = sql`${now} + ${waited} * (1000 + sequence % 1001) / 2000`;
  const first = sql.join(
    OPEN.map((state) => sql`select * from (${firstOfKey(dialect, state)}) as ${sql.ref(state)}`),
    sql` union all `,
  );
  return {
    /** The first message of a key, after a number, that waits for an attempt. */
    next: compiled<'channel' | 'key' | 'after'>(sql`select min(f.sequence) as sequence from (${first}) as f`),
    letGo: compiled<'sequence' | 'now'>(
      sql`update ${head} set due_at = case when due_at >= ${now} - 1 and due_at <= ${now} then due_at - 1 else ${now} end
        where sequence = ${hole('sequence')} and ${open}`,
    ),
    putOffOne: compiled<'sequence' | 'dueAt' | 'now'>(
      sql`update ${head} set due_at = ${later} where sequence = ${hole('sequence')} and coalesce(due_at, 0) = ${hole('dueAt')} and ${open}`,
    ),
    /**
     * `dues`: JSON, sequence → due_at. By primary key alone: what the planner believes about the table cannot lead it to another index. A row that
     * somebody is changing is left as it is: a handler may be at it.
     */
    putOffTogether:
      dialect.name !== 'postgres'
        ? undefined
        : compiled<'sequences' | 'dues' | 'now'>(
            sql`update ${head} set due_at = ${later} where sequence = any(array(
              select sequence from ${head} where sequence = any(cast((select cast(${hole('sequences')} as text)) as bigint[]))
                and coalesce(due_at, 0) = cast((select cast(cast(${hole('dues')} as text) as jsonb)) ->> cast(sequence as text) as bigint)
                and ${open} for update skip locked))`,
          ),
  };
});

/** On PostgreSQL by places in the order of the one index that has them, whatever the planner believes about the table. */
function firstOfKey(dialect: Dialect, state: RowState): RawBuilder<unknown> {
  const head = sql.table('tallystick_inbox');
  if (dialect.name !== 'postgres')
    return sql`select sequence from ${head} where message_key = ${hole('key')} and channel = ${hole('channel')} and state = ${sql.lit(state)}
      and sequence > ${hole('after')} order by sequence limit 1`;
  const place = sql.raw('(message_key, channel, state, sequence)');
  const of = (sequence: unknown): RawBuilder<unknown> =>
    sql`(${hole('key')}, ${hole('channel')}, ${sql.lit(state)}, ${sequence})`;
  return sql`select sequence from ${head} where ${place} > ${of(hole('after'))} and ${place} <= ${of(sql.lit(Number.MAX_SAFE_INTEGER))}
    order by message_key, channel, state, sequence limit 1`;
}
