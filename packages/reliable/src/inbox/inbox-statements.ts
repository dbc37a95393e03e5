/**
 * Every statement on the inbox's table, built in one place. A row is the key of its message (once `done`) and its retry (before): the
 * unique key is on the sender's id and the consumer, so a message is in one of the two and never in both.
 *
 * Fence: `started` counts the attempts begun, each beginning is a compare-and-set on it, and everything an attempt writes about its row
 * names the number it began with. So of two processes that try one row, the later beginner decides. A beginning that was not answered is given
 * up under the number that it would have written. Another process may have begun that very number: until its transaction has written the row,
 * its attempt is taken for ended, and the next may begin beside it. Work is lost then, and the effect is still one.
 *
 * Who is at work on a row keeps others off by the lock of its transaction, which has written the row; before and after that by the row's due
 * time. Whoever suspects that nobody is waits for no lock (PostgreSQL; SQLite has one writer, and says that it is locked).
 */
import { sql, type RawBuilder, type SqlBool } from 'kysely';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { hole, prepared, type Prepared } from '../sql/statement.ts';
import { bodyAs, headAs, headWith, type RowState } from '../sql/tables.ts';
import { IN_ORDER, pageRows, type PageNames } from '../relay/relay-statements.ts';
import { KEPT_COLUMNS, type Kept } from './kept.ts';
import { OPEN, standsBehind } from './standing-behind.ts';

export type InboxStatements = ReturnType<typeof make>;

/** `holding`: whether a dead message holds its key. */
export const inboxStatements: (dialect: Dialect, deadKeys: 'hold' | 'pass') => InboxStatements = (dialect, deadKeys) =>
  (deadKeys === 'hold' ? holdingStatements : passingStatements)(dialect);

const holdingStatements = perDialect((dialect) => make(dialect, ['dead', ...OPEN]));
const passingStatements = perDialect((dialect) => make(dialect, OPEN));

type Place = 'id' | 'consumer';
type Mine = Place | 'started';
type Found = Mine | 'tries';
type Seen = Place | 'shard' | 'topic' | 'type' | 'now';

function make(dialect: Dialect, holding: readonly RowState[]) {
  const { build } = dialect;
  // Read once per statement: a clock that is asked for each row can be no bound of an index.
  const now = dialect.now === undefined ? hole<number>('now') : sql<number>`(select ${dialect.now})`;
  const head = headAs('tallystick_inbox');
  const body = bodyAs('tallystick_inbox');
  const inMs = sql<number>`${now} + ${hole<number>('waitMs')}`;
  const mine = build
    .updateTable(head)
    .where(headWith('id', 'consumer', OPEN))
    .where('started', '=', hole<number>('started'));
  const among = (which: RawBuilder<SqlBool>) => sql<SqlBool>`${headWith('id', 'consumer', OPEN)} and ${which}`;
  /** Rows, but for those that another transaction has locked. */
  const unlocked = (which: RawBuilder<SqlBool>) =>
    build
      .updateTable(head)
      .where(
        dialect.name === 'postgres'
          ? sql<SqlBool>`sequence = any(array(select sequence from ${sql.table(head)} where ${among(which)} for update skip locked))`
          : among(which),
      );
  /** As it was read: no attempt has begun or ended since. */
  const found = unlocked(sql<SqlBool>`started = ${hole('started')} and tries = ${hole('tries')}`);
  const seen = {
    id: hole<string>('id'),
    channel: hole<string>('consumer'),
    shard: hole<number>('shard'),
    topic: hole<string>('topic'),
    message_type: hole<string>('type'),
    mode: 'immediate' as const,
    state: 'done' as const,
    attempts: 0,
    tries: 0,
    due_at: now,
    created_at: now,
    changed_at: now,
    body_bytes: 0,
  };
  const see = prepared<Seen>(dialect.ignoreTaken(build.insertInto(head).values(seen)), 'insert');
  const { lockWait } = dialect;
  const columns = sql.join(KEPT_COLUMNS.map((column) => sql.ref(`h.${column}`)));
  const read = sql`${columns}, case when ${standsBehind(dialect, holding)} then 1 else 0 end as behind`;
  return {
    /** The key of a message that is handled in this transaction; changes nothing when it is there. A `done` row is due for forgetting by its age. */
    see,
    /**
     * The same, which waits no longer than `lockMs` for another transaction that has written the key. In one statement: the insert takes a
     * value from the limit's setting, so that it is set by then, and what it returns sets it back, for the handler's own statements.
     */
    seeBriefly:
      lockWait === undefined
        ? (see as Prepared<Seen | 'lockMs'>)
        : prepared<Seen | 'lockMs'>(
            dialect
              .ignoreTaken(
                build
                  .with('waits', (of) => of.selectNoFrom([lockWait.now.as('before'), lockWait.set(hole('lockMs')).as('during')]))
                  .insertInto(head)
                  .values({ ...seen, tries: sql<number>`(select 0 from waits)` }),
              )
              .returning(sql`(select ${lockWait.set(sql.ref('before'))} from waits)`.as('after')),
            'insert',
          ),
    /** Lets the transaction wait no longer than `lockMs` for others. */
    waitBriefly: lockWait && prepared<'lockMs'>(build.selectNoFrom(lockWait.set(hole('lockMs')).as('during'))),
    /** Takes a message into the table; changes nothing when it is there. */
    keep: prepared<keyof Kept>(
      dialect.ignoreTaken(
        build.insertInto(head).values({
          id: hole('id'),
          channel: hole('consumer'),
          shard: hole('shard'),
          message_key: hole('key'),
          topic: hole('topic'),
          tag: hole('tag'),
          message_type: hole('type'),
          business_key: hole('businessKey'),
          mode: 'deferred',
          state: hole('state'),
          attempts: hole('attempts'),
          tries: hole('tries'),
          started: hole('started'),
          last_outcome: hole('outcome'),
          last_error: hole('reason'),
          due_at: inMs,
          created_at: now,
          changed_at: now,
          body_bytes: hole('bytes'),
        }),
      ),
    ),
    keepBody: prepared<Place | 'headers' | 'body'>(
      build.insertInto(body).values({ id: hole('id'), channel: hole('consumer'), headers: hole('headers'), body: hole('body') }),
    ),
    row: prepared<Place>(build.selectFrom(head).selectAll().where(headWith('id', 'consumer'))),
    bodyOf: prepared<Place>(
      build
        .selectFrom(body)
        .select(['headers', 'body'])
        .where('channel', '=', hole<string>('consumer'))
        .where('id', '=', hole<string>('id')),
    ),
    /** Whether a message of this key waits for an attempt, or for a person. */
    keyHeld: prepared<'consumer' | 'key'>(
      build
        .selectFrom(head)
        .select('sequence')
        .where('message_key', '=', hole<string>('key'))
        .where('channel', '=', hole<string>('consumer'))
        .where('state', 'in', holding)
        .limit(1),
    ),
    heldBefore: prepared<'consumer' | 'key' | 'sequence'>(
      build
        .selectFrom(head)
        .select('sequence')
        .where('message_key', '=', hole<string>('key'))
        .where('channel', '=', hole<string>('consumer'))
        .where('state', 'in', holding)
        .where('sequence', '<', hole<number>('sequence'))
        .limit(1),
    ),
    /** One page of due rows of a state, in the order (due_at, sequence), after a position; of each whether it stands behind another. */
    due: prepared<PageNames>(
      { compile: () => sql`${pageRows(dialect, 'tallystick_inbox', read)} ${IN_ORDER}`.compile(build) },
      'read',
    ),
    /** An attempt begins; written in a transaction of its own, so that it is there even if the attempt takes the process with it. */
    begin: prepared<Found | 'now' | 'waitMs'>(
      found.set((of) => ({ state: 'retrying', started: of('started', '+', 1), due_at: inMs, changed_at: now })),
    ),
    /** Others shall not look at it for a while. Changes nothing when an attempt is at work. */
    suspect: prepared<Found | 'now' | 'waitMs'>(found.set({ due_at: inMs })),
    /** An attempt that was overtaken has ended after all. What ended after it has counted it already; what holds the row will, if it ends. */
    endedLate: prepared<Mine>(
      unlocked(sql<SqlBool>`started > ${hole('started')} and tries < started`).set((of) => ({ tries: of('tries', '+', 1) })),
    ),
    /** The row becomes the key of its message. */
    done: prepared<Mine | 'now'>(
      mine.set({
        state: 'done',
        message_key: null,
        last_outcome: null,
        last_error: null,
        due_at: now,
        changed_at: now,
        body_bytes: 0,
      }),
    ),
    dropBody: prepared<Place>(
      build.deleteFrom(body).where('channel', '=', hole<string>('consumer')).where('id', '=', hole<string>('id')),
    ),
    failed: prepared<Mine | 'state' | 'attempts' | 'tries' | 'waitMs' | 'outcome' | 'reason' | 'now'>(
      mine.set({
        state: hole<RowState>('state'),
        attempts: hole<number>('attempts'),
        tries: hole<number>('tries'),
        due_at: inMs,
        last_outcome: hole<string>('outcome'),
        last_error: hole<string>('reason'),
        changed_at: now,
      }),
    ),
    /** A person wants it tried again now, with a fresh account. */
    retry: prepared<Place | 'now'>(
      build
        .updateTable(head)
        .set({ state: 'retrying', attempts: 0, tries: 0, started: 0, due_at: now, changed_at: now })
        .where(headWith('id', 'consumer', ['dead', 'buried', 'retrying', 'waiting', 'delayed'])),
    ),
    /**
     * A message that was handled, or buried, has come again: its key is as young as a new one, if it was older than `olderThanMs`. `changed_at`
     * still says when that was. What older versions of this package buried has no such time, and stays as it is.
     */
    renew: prepared<Place | 'now' | 'olderThanMs'>(
      build
        .updateTable(head)
        .set({ due_at: now })
        .where(headWith('id', 'consumer', ['done', 'buried']))
        .where('due_at', '>', 0)
        .where('due_at', '<', sql<number>`${now} - ${hole<number>('olderThanMs')}`),
    ),
    // Two statements instead of a delete with a limit, which two of three databases do not have; both walk the index of due rows.
    oldest: prepared<'consumer' | 'now' | 'olderThanMs' | 'limit'>(
      build
        .selectFrom(head)
        .select(['due_at', 'sequence'])
        .where('channel', '=', hole<string>('consumer'))
        .where('state', '=', 'done')
        .where('due_at', '<', sql<number>`${now} - ${hole<number>('olderThanMs')}`)
        .orderBy('due_at')
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    forgetTo: prepared<'consumer' | 'dueAt' | 'sequence'>(
      build
        .deleteFrom(head)
        .where('channel', '=', hole<string>('consumer'))
        .where('state', '=', 'done')
        .where('due_at', '<=', hole<number>('dueAt'))
        .where(sql<SqlBool>`(due_at, sequence) <= (${hole('dueAt')}, ${hole('sequence')})`),
    ),
  };
}
