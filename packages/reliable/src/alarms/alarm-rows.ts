/**
 * What alarms have to remember over restarts and changes of hands, in the lease table, where everything has an owner and an end:
 *
 * ```
 * alarms:<channel>               who checks, until when
 * alarm:<channel>:<kind>         owner 'raised', epoch = since when, expires_at = not repeated before
 * alarm-silence:<channel>:<kind> expires_at = silenced until
 * ```
 *
 * A row is changed only as it was seen, so of two processes that decide at once one tells.
 */
import { aheadMaxMs } from '../relay/leases.ts';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { hole, prepared, preparedList, run, type Steps } from '../sql/statement.ts';
import { asNumber, asText } from '../sql/values.ts';
import type { AlarmMemory } from './decide-alarm.ts';

/** Every kind at once. */
export const ALL_KINDS = '*';

/** Takes or keeps the office of checking; false: another process holds it. */
export function* takeOffice(dialect: Dialect, channel: string, owner: string, leaseMs: number, nowMs: number): Steps<boolean> {
  const statements = alarmStatements(dialect);
  const scope = `alarms:${channel}`;
  const taken = { scope, owner, until: nowMs + leaseMs, now: nowMs, farAhead: nowMs + aheadMaxMs(leaseMs) };
  if ((yield* run(statements.take(taken))).changes > 0) return true;
  return (yield* run(statements.make({ scope, owner, epoch: 1, until: nowMs + leaseMs }))).changes > 0;
}

export function* leaveOffice(dialect: Dialect, channel: string, owner: string): Steps<void> {
  yield alarmStatements(dialect).leave({ scope: `alarms:${channel}`, owner });
}

export interface Remembered {
  readonly memory: ReadonlyMap<string, AlarmMemory>;
  /** Kind (or {@link ALL_KINDS}) → until when. */
  readonly silencedUntil: ReadonlyMap<string, number>;
}

export function* recall(dialect: Dialect, channel: string, kinds: readonly string[]): Steps<Remembered> {
  const alarms = new Map(kinds.map((kind) => [`alarm:${channel}:${kind}`, kind]));
  const silences = new Map([...kinds, ALL_KINDS].map((kind) => [`alarm-silence:${channel}:${kind}`, kind]));
  const { rows } = yield* run(alarmStatements(dialect).see({}, [...alarms.keys(), ...silences.keys()]));
  const memory = new Map<string, AlarmMemory>();
  const silencedUntil = new Map<string, number>();
  for (const row of rows) {
    const scope = asText(row['scope']);
    const kind = alarms.get(scope);
    const until = asNumber(row['expires_at']);
    if (kind !== undefined)
      memory.set(kind, { raisedAt: asText(row['owner']) === '' ? 0 : asNumber(row['epoch']), quietUntil: until });
    else silencedUntil.set(silences.get(scope) ?? '', until);
  }
  return { memory, silencedUntil };
}

/** Writes what is remembered of a kind; false: another process was faster. */
export function* remember(
  dialect: Dialect,
  channel: string,
  kind: string,
  before: AlarmMemory | undefined,
  after: AlarmMemory,
): Steps<boolean> {
  const statements = alarmStatements(dialect);
  const scope = `alarm:${channel}:${kind}`;
  const row = { scope, owner: after.raisedAt > 0 ? 'raised' : '', epoch: after.raisedAt, until: after.quietUntil };
  if (before === undefined) return (yield* run(statements.make(row))).changes > 0;
  const { raisedAt, quietUntil } = before;
  return (yield* run(statements.change({ ...row, seenEpoch: raisedAt, seenUntil: quietUntil }))).changes > 0;
}

/** Told in vain: the next check tells again. */
export function* unquiet(dialect: Dialect, channel: string, kind: string): Steps<void> {
  yield alarmStatements(dialect).until({ scope: `alarm:${channel}:${kind}`, until: 0 });
}

export function* silence(dialect: Dialect, channel: string, kind: string, untilMs: number): Steps<void> {
  const statements = alarmStatements(dialect);
  const scope = `alarm-silence:${channel}:${kind}`;
  if ((yield* run(statements.until({ scope, until: untilMs }))).changes > 0) return;
  yield statements.make({ scope, owner: '', epoch: 0, until: untilMs });
}

export const alarmStatements = perDialect((dialect) => {
  const { build } = dialect;
  const rowOf = build.updateTable('tallystick_lease').where('scope', '=', hole<string>('scope')).where('first_shard', '=', 0);
  return {
    make: prepared<'scope' | 'owner' | 'epoch' | 'until'>(
      dialect.ignoreTaken(
        build.insertInto('tallystick_lease').values({
          scope: hole('scope'),
          first_shard: 0,
          last_shard: 0,
          owner: hole('owner'),
          epoch: hole('epoch'),
          expires_at: hole('until'),
        }),
      ),
    ),
    take: prepared<'scope' | 'owner' | 'until' | 'now' | 'farAhead'>(
      rowOf.set({ owner: hole<string>('owner'), expires_at: hole<number>('until') }).where((of) =>
        of.or([
          of('owner', '=', hole<string>('owner')),
          of('owner', '=', ''),
          of('expires_at', '<=', hole<number>('now')),
          // Written before the clock was set back.
          of('expires_at', '>', hole<number>('farAhead')),
        ]),
      ),
    ),
    leave: prepared<'scope' | 'owner'>(rowOf.set({ owner: '', expires_at: 0 }).where('owner', '=', hole<string>('owner'))),
    change: prepared<'scope' | 'owner' | 'epoch' | 'until' | 'seenEpoch' | 'seenUntil'>(
      rowOf
        .set({ owner: hole<string>('owner'), epoch: hole<number>('epoch'), expires_at: hole<number>('until') })
        .where('epoch', '=', hole<number>('seenEpoch'))
        .where('expires_at', '=', hole<number>('seenUntil')),
    ),
    until: prepared<'scope' | 'until'>(rowOf.set({ expires_at: hole<number>('until') })),
    see: preparedList<never>((scopes) =>
      build
        .selectFrom('tallystick_lease')
        .select(['scope', 'owner', 'epoch', 'expires_at'])
        .where('scope', 'in', scopes)
        .where('first_shard', '=', 0),
    ),
  };
});
