/**
 * What the arrival of a consumer's confirmation does to the row it names. It may arrive at any time, because the consumer may be
 * faster than the relay's own bookkeeping, and any number of times.
 *
 * ```
 * waiting, delayed, retrying, sent   settled: deleted, or kept as `confirmed` for `keep_for`      confirmed
 *   (waiting: it was pushed, and the confirmation is here before the relay has written `sent`)
 * dead                               settled too: that it has arrived is the better knowledge      confirmed
 * confirmed                          nothing                                                       repeated
 * buried                             stays, with the outcome beside the person's reason            buried
 * of another channel                 nothing: it belongs to the outbox of that channel             elsewhere
 * no row                             nothing: settled and forgotten, or never sent from here       unknown
 * ```
 */
import { sql } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { perDialect } from '../sql/dialect.ts';
import { hole, prepared, run, type Steps } from '../sql/statement.ts';
import { headWith, type RowState } from '../sql/tables.ts';
import { asText } from '../sql/values.ts';
import { canWriteTogether } from './outbox-statements.ts';

export type ConfirmOutcome = 'confirmed' | 'repeated' | 'buried' | 'elsewhere' | 'unknown';

/** Needs a transaction of its own or of the caller's, except where one statement does it all. */
export function* confirmSteps(dialect: Dialect, row: ConfirmedRow): Steps<ConfirmOutcome> {
  const settled = canWriteTogether(dialect) ? yield* settleTogether(dialect, row) : yield* settleApart(dialect, row);
  return settled ? 'confirmed' : yield* whyNot(dialect, row);
}

export type ConfirmedRow = Readonly<{ channel: string; id: string; now: number }>;

function* settleTogether(dialect: Dialect, row: ConfirmedRow): Steps<boolean> {
  const { rows } = yield* run(confirmTogether(dialect)(row));
  return rows.length > 0;
}

function* settleApart(dialect: Dialect, row: ConfirmedRow): Steps<boolean> {
  const { keep, forget, forgetBody } = confirmApart(dialect);
  const kept = yield* run(keep(row));
  const settled = kept.changes > 0 || (yield* run(forget(row))).changes > 0;
  if (settled) yield forgetBody(row);
  return settled;
}

function* whyNot(dialect: Dialect, row: ConfirmedRow): Steps<ConfirmOutcome> {
  const { look, remark } = confirmApart(dialect);
  const { rows } = yield* run(look({ id: row.id }));
  const found = rows.find(({ channel }) => asText(channel) === row.channel);
  if (found === undefined) return rows.length === 0 ? 'unknown' : 'elsewhere';
  if (asText(found['state']) !== 'buried') return 'repeated';
  yield remark(row);
  return 'buried';
}

/** States in which a confirmation settles. */
const OPEN: RowState[] = ['waiting', 'delayed', 'retrying', 'sent', 'dead'];

const queriesOf = perDialect(({ build, now }) => {
  const at = now ?? hole<number>('now');
  const mine = { channel: hole<string>('channel'), id: hole<string>('id') };
  return {
    keep: build
      .updateTable('tallystick_outbox')
      .set({
        state: 'confirmed',
        // Until then it is kept.
        due_at: sql<number>`${at} + keep_for`,
        changed_at: at,
        last_outcome: 'confirmed',
        last_error: null,
      })
      .where(headWith('id', 'channel', OPEN))
      .where('keep_for', '>', 0),
    forget: build
      .deleteFrom('tallystick_outbox')
      .where(headWith('id', 'channel', OPEN))
      .where('keep_for', '=', 0),
    forgetBody: build.deleteFrom('tallystick_outbox_body').where('channel', '=', mine.channel).where('id', '=', mine.id),
    look: build.selectFrom('tallystick_outbox').select(['channel', 'state']).where('id', '=', mine.id),
    remark: build
      .updateTable('tallystick_outbox')
      .set({ last_outcome: 'confirmed' })
      .where(headWith('id', 'channel', ['buried'])),
  };
});

export const confirmApart = perDialect((dialect) => {
  const { keep, forget, forgetBody, look, remark } = queriesOf(dialect);
  return {
    keep: prepared<'channel' | 'id' | 'now'>(keep),
    forget: prepared<'channel' | 'id'>(forget),
    forgetBody: prepared<'channel' | 'id'>(forgetBody),
    look: prepared<'id'>(look),
    remark: prepared<'channel' | 'id'>(remark),
  };
});

/** All of it in one statement, which answers a row when it settled. */
export const confirmTogether = perDialect((dialect) => {
  const { keep, forget, forgetBody } = queriesOf(dialect);
  const settled = dialect.build
    .with('kept', () => keep.returning('id'))
    .with('gone', () => forget.returning('id'))
    .with('settled', (db) => db.selectFrom('kept').select('id').unionAll(db.selectFrom('gone').select('id')))
    .with('body', (db) => forgetBody.where('id', 'in', db.selectFrom('settled').select('id') as never))
    .selectFrom('settled')
    .select('id');
  return prepared<'channel' | 'id' | 'now'>(settled);
});
