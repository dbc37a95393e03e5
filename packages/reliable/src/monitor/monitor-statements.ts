/**
 * The monitor's statements. Each reads a bounded number of rows along an index, so that looking costs the same whether a hundred rows
 * wait or ten million: counts stop at a cap, pages go by (due_at, sequence) as the claim does.
 */
import { sql, type SqlBool } from 'kysely';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { hole, prepared, preparedList } from '../sql/statement.ts';
import { bodyAs, headAs, headWith, OUTBOX, type HeadRow, type MessageTable, type RowState } from '../sql/tables.ts';

export type MonitorStatements = ReturnType<ReturnType<typeof monitorStatementsOf>>;

/** What a person can do with a message, and to messages in which states. */
export const ACTIONS = {
  /** Due at once, with its account of attempts as it is: a dead one has one more. */
  retry: ['retrying', 'dead', 'sent'],
  /** Due at once, with a fresh account of attempts. */
  requeue: ['dead', 'buried', 'retrying'],
  /** Shall not leave any more; later messages of its key go on. The row stays, with the reason. */
  bury: ['dead', 'retrying', 'delayed', 'sent'],
} as const satisfies Readonly<Record<string, readonly RowState[]>>;

export type Action = keyof typeof ACTIONS;

export const monitorStatementsOf = perDialect((dialect) => {
  const made = new Map<MessageTable, ReturnType<typeof monitorStatements>>();
  return (table: MessageTable) => {
    let statements = made.get(table);
    if (statements === undefined) made.set(table, (statements = monitorStatements(dialect, table)));
    return statements;
  };
});

/** Among how many rows of a state the ones that hold a key up are looked for. */
const BLOCKING_AMONG = 100_000;

/** All that a head has, but where it lies: that is what was asked by. */
const columns = (Object.keys(OUTBOX.columns) as (keyof HeadRow)[]).filter((name) => name !== 'channel' && name !== 'shard');

function monitorStatements(dialect: Dialect, table: MessageTable) {
  const { build } = dialect;
  const head = headAs(table);
  const body = bodyAs(table);
  const now = dialect.now ?? hole<number>('now');
  const inState = build
    .selectFrom(head)
    .where('channel', '=', hole<string>('channel'))
    .where('state', '=', hole<RowState>('state'));
  const one = (action: Action) => build.updateTable(head).where(headWith('id', 'channel', ACTIONS[action]));
  return {
    now: dialect.now === undefined ? undefined : prepared<never>(build.selectNoFrom(dialect.now.as('now'))),
    count: prepared<'channel' | 'state' | 'limit'>(
      build
        // In the index's order, or the planner reads the table from its beginning for a state that most rows have.
        .selectFrom(inState.select('sequence').orderBy('due_at').orderBy('sequence').limit(hole<number>('limit')).as('counted'))
        .select((of) => of.fn.countAll().as('rows')),
    ),
    /** When the first row of a state that is due at once was made: rows of one state leave in the order of `sequence`. */
    first: prepared<'channel' | 'state'>(
      inState.select('created_at').where('due_at', '<=', 0).orderBy('due_at').orderBy('sequence').limit(1),
    ),
    /** When the first row of a state falls due. */
    firstDue: prepared<'channel' | 'state'>(inState.select('due_at').orderBy('due_at').orderBy('sequence').limit(1)),
    /**
     * Of the rows of a state that are due first: since when the oldest is left to be handled, one that was requeued, and not tried since, since then;
     * and how many had nowhere to go.
     */
    oldest: prepared<'channel' | 'state' | 'limit'>(
      build
        .selectFrom(
          inState
            .select(['created_at', 'changed_at', 'tries', 'last_outcome'])
            .orderBy('due_at')
            .orderBy('sequence')
            .limit(hole<number>('limit'))
            .as('due'),
        )
        .select((of) => [
          of.fn.min(of.case().when('tries', '=', 0).then(of.ref('changed_at')).else(of.ref('created_at')).end()).as('since'),
          of.fn.sum(of.case().when('last_outcome', '=', 'unroutable').then(1).else(0).end()).as('unroutable'),
        ]),
    ),
    /**
     * Since when the broker has had the first of the rows that were sent, and sent again because their consumer had not confirmed them in its
     * time. A message made long before it was sent, or whose consumer has more time, is none of them.
     */
    unconfirmed: prepared<'channel' | 'limit'>(
      build
        .selectFrom(
          build
            .selectFrom(head)
            .select(['changed_at', 'confirm_within', 'started'])
            .where('channel', '=', hole<string>('channel'))
            .where('state', '=', 'sent')
            .orderBy('due_at')
            .orderBy('sequence')
            .limit(hole<number>('limit'))
            .as('due'),
        )
        .select(sql<number | null>`min(changed_at - (started - 1) * confirm_within)`.as('since'))
        .where('started', '>', 1),
    ),
    page: prepared<'channel' | 'state' | 'due' | 'after' | 'limit'>(
      inState
        .select(columns)
        .where(sql<SqlBool>`(due_at, sequence) > (${hole('due')}, ${hole('after')})`)
        .orderBy('due_at')
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    /** Rows of a state that may hold their key up, those that are due first: nobody waits for one without a key, or that only lacks its confirmation. */
    blocking: prepared<'channel' | 'state' | 'limit'>(
      build
        .selectFrom(inState.select(columns).orderBy('due_at').orderBy('sequence').limit(BLOCKING_AMONG).as('due'))
        .selectAll()
        .where('message_key', 'is not', null)
        .where((of) =>
          of.or([of('state', '<>', 'dead'), of('last_outcome', 'is', null), of('last_outcome', '<>', 'unconfirmed')]),
        )
        .orderBy('due_at')
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    keyPage: prepared<'channel' | 'state' | 'key' | 'after' | 'limit'>(
      inState
        .select(columns)
        .where('message_key', '=', hole<string>('key'))
        .where('sequence', '>', hole<number>('after'))
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    businessPage: prepared<'channel' | 'key' | 'after' | 'limit'>(
      build
        .selectFrom(head)
        .select(columns)
        .where('channel', '=', hole<string>('channel'))
        .where('business_key', '=', hole<string>('key'))
        .where('sequence', '>', hole<number>('after'))
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    byIds: preparedList<'channel'>((ids) =>
      build.selectFrom(head).select(columns).where('channel', '=', hole<string>('channel')).where('id', 'in', ids),
    ),
    /** How many rows wait behind a failing one of their key, up to a cap. */
    behind: prepared<'channel' | 'key' | 'after' | 'limit'>(
      build
        .selectFrom(
          build
            .selectFrom(head)
            .select('sequence')
            .where('message_key', '=', hole<string>('key'))
            .where('channel', '=', hole<string>('channel'))
            .where('state', '=', 'waiting')
            .where('sequence', '>', hole<number>('after'))
            .limit(hole<number>('limit'))
            .as('counted'),
        )
        .select((of) => of.fn.countAll().as('rows')),
    ),
    preview: prepared<'channel' | 'id' | 'bytes'>(
      build
        .selectFrom(body)
        .select(['headers', sql<Uint8Array>`substr(body, 1, ${hole('bytes')})`.as('start')])
        .where('channel', '=', hole<string>('channel'))
        .where('id', '=', hole<string>('id')),
    ),
    retry: prepared<'channel' | 'id' | 'now'>(one('retry').set({ state: 'retrying', due_at: now, changed_at: now })),
    requeue: prepared<'channel' | 'id' | 'now'>(
      one('requeue').set({ state: 'retrying', attempts: 0, tries: 0, started: 0, due_at: now, changed_at: now }),
    ),
    /** It is due for forgetting by its age. */
    bury: prepared<'channel' | 'id' | 'now' | 'reason'>(
      one('bury').set({ state: 'buried', due_at: now, last_error: hole<string>('reason'), changed_at: now }),
    ),
  };
}
