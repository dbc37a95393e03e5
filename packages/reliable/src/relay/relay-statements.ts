import { sql } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { hole, prepared, preparedList, type Prepared, type SqlValue, type Statement } from '../sql/statement.ts';
import { bodyAs, headAs, type MessageTable, type RowState } from '../sql/tables.ts';

/**
 * Every statement of a relay, built in one place. All that change or claim rows carry the fence: the lease row of the range must still
 * name this owner and this epoch, so a relay that was paused and replaced changes nothing.
 */
export interface RelayStatements {
  /** One page of due rows in ranges this owner holds, with range and epoch; none whose key is held by an earlier failed message. */
  readonly claim: Prepared<'channel' | 'state' | 'scope' | 'owner' | 'now' | 'afterDue' | 'afterSequence' | 'limit'>;
  readonly bodies: (values: Readonly<Record<'channel', SqlValue>>, ids: readonly string[]) => Statement;
  readonly deleteHeads: (values: Fenced, ids: readonly string[]) => Statement;
  readonly deleteBodies: (values: Fenced, ids: readonly string[]) => Statement;
  readonly failed: Prepared<FencedNames | 'id' | 'state' | 'attempts' | 'tries' | 'dueAt' | 'outcome' | 'reason' | 'now'>;
  readonly fenceHolds: Prepared<FencedNames>;
}

type FencedNames = 'channel' | 'scope' | 'range' | 'owner' | 'epoch';
type Fenced = Readonly<Record<FencedNames, SqlValue>>;

export function relayStatements(dialect: Dialect, table: MessageTable, deadKeys: 'hold' | 'pass'): RelayStatements {
  const { build } = dialect;
  const now = dialect.now ?? hole<number>('now');
  const head = headAs(table);
  const body = bodyAs(table);
  const holding: RowState[] = deadKeys === 'hold' ? ['retrying', 'dead'] : ['retrying'];
  /** The range's lease still names this owner and this epoch. */
  const fence = build
    .selectFrom('tallystick_lease as l')
    .select('l.epoch')
    .where('l.scope', '=', hole<string>('scope'))
    .where('l.first_shard', '=', hole<number>('range'))
    .where('l.owner', '=', hole<string>('owner'))
    .where('l.epoch', '=', hole<number>('epoch'));
  return {
    claim: prepared(
      build
        .selectFrom(`${head} as h`)
        // SQLite keeps the order of a cross join: heads in index order, then the few leases. Otherwise it would sort.
        .crossJoin('tallystick_lease as l')
        .select([
          'h.sequence',
          'h.id',
          'h.shard',
          'h.message_key',
          'h.topic',
          'h.tag',
          'h.attempts',
          'h.tries',
          'h.due_at',
          'h.body_bytes',
          'l.first_shard',
          'l.epoch',
        ])
        .where('h.channel', '=', hole<string>('channel'))
        .where('h.state', '=', hole<RowState>('state'))
        .where('h.due_at', '<=', now)
        .where('h.due_at', '>=', hole<number>('afterDue'))
        .where((of) =>
          of.or([of('h.due_at', '>', hole<number>('afterDue')), of('h.sequence', '>', hole<number>('afterSequence'))]),
        )
        .where('l.scope', '=', hole<string>('scope'))
        .where('l.owner', '=', hole<string>('owner'))
        .where('l.expires_at', '>', now)
        .whereRef('l.first_shard', '<=', 'h.shard')
        .whereRef('l.last_shard', '>=', 'h.shard')
        .where((of) =>
          of.or([
            of('h.message_key', 'is', null),
            of.not(
              of.exists(
                of
                  .selectFrom(`${head} as e`)
                  .select(sql<number>`1`.as('one'))
                  .whereRef('e.message_key', '=', 'h.message_key')
                  .whereRef('e.channel', '=', 'h.channel')
                  .where('e.state', 'in', holding)
                  .whereRef('e.sequence', '<', 'h.sequence'),
              ),
            ),
          ]),
        )
        .orderBy('h.due_at')
        .orderBy('h.sequence')
        .limit(hole<number>('limit')),
    ),
    bodies: preparedList((ids) =>
      build
        .selectFrom(body)
        .select(['id', 'headers', 'body'])
        .where('channel', '=', hole<string>('channel'))
        .where('id', 'in', ids),
    ),
    deleteHeads: preparedList((ids) =>
      build
        .deleteFrom(head)
        .where('channel', '=', hole<string>('channel'))
        .where('id', 'in', ids)
        .where((of) => of.exists(fence)),
    ),
    // A body goes only when its head is gone: a fenced or failed delete of heads leaves both.
    deleteBodies: preparedList((ids) =>
      build
        .deleteFrom(body)
        .where('channel', '=', hole<string>('channel'))
        .where('id', 'in', ids)
        .where((of) => of.exists(fence))
        .where((of) =>
          of.not(
            of.exists(
              of
                .selectFrom(`${head} as h`)
                .select(sql<number>`1`.as('one'))
                .whereRef('h.id', '=', sql.ref(`${body}.id`) as never)
                .whereRef('h.channel', '=', sql.ref(`${body}.channel`) as never),
            ),
          ),
        ),
    ),
    failed: prepared(
      build
        .updateTable(head)
        .set({
          state: hole<RowState>('state'),
          attempts: hole<number>('attempts'),
          tries: hole<number>('tries'),
          due_at: hole<number>('dueAt'),
          last_outcome: hole<string>('outcome'),
          last_error: hole<string>('reason'),
          changed_at: now,
        })
        .where('channel', '=', hole<string>('channel'))
        .where('id', '=', hole<string>('id'))
        // What a person has decided meanwhile stays decided.
        .where('state', 'in', ['waiting', 'delayed', 'retrying'])
        .where((of) => of.exists(fence)),
    ),
    fenceHolds: prepared(fence),
  };
}
