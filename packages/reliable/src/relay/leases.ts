/**
 * Which relay may push which messages: 16 ranges of 16 shards, each a lease row with an owner, an expiry and an epoch that grows with
 * every change of hands. A lease writes one row every few seconds instead of one per message, keeps a key with one relay, and its
 * epoch fences a relay that was paused past its expiry.
 *
 * ```
 * free     owner '' or expired     → take (epoch + 1)    → held
 * held     owner is me             → renew in time       → held
 *                                  → release at stop     → free
 *                                  → expired, taken      → lost: whatever is settled under the old epoch changes nothing
 * ```
 *
 * A clock that is set back leaves leases that end in a far future. Whoever sees one that ends later than any lease of the present could
 * shortens it to a lease's time from now: a living holder renews it as always, a dead one is replaced as always.
 */
import type { Random } from '@tallystick/base';
import { sql, type SqlBool } from 'kysely';
import { SHARDS } from '../outbox/message-id.ts';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { hole, prepared, run, type Steps } from '../sql/statement.ts';
import { asNumber, asText } from '../sql/values.ts';

/** Fixed for ever: the rows are made once per scope. */
export const RANGES = 16;
export const RANGE_SHARDS = SHARDS / RANGES;

/** A lease row as it was read. */
export interface LeaseSeen {
  readonly range: number;
  readonly owner: string;
  readonly epoch: number;
  /** Whether it had expired by the clock that decides. */
  readonly expired: boolean;
  /** Whether it ends later than the present clock can have written; see {@link shortenLeases}. */
  readonly farAhead?: boolean | undefined;
}

/** Longest lease there is (the bound of `leaseMs`): whoever else keeps leases of this scope may have another one than oneself. */
const LEASE_MAX_MS = 3_600_000;

/** A lease that ends later than this from now was written before the clock was set back. */
export function aheadMaxMs(leaseMs: number): number {
  return Math.max(LEASE_MAX_MS, 10 * leaseMs);
}

/**
 * A holder's name in the table: what it is called, as far as there is room, and a part that no other has. Two that were given one name would
 * take each other's leases for their own, and neither would claim beside leases that it does not know of.
 */
export function holderName(called: string, random: Random): string {
  const own = Array.from({ length: 2 }, () => random.u32().toString(16).padStart(8, '0')).join('');
  return `${called.slice(0, OWNER_MAX - 1 - own.length)}-${own}`;
}

/** As the column of owners is wide. */
const OWNER_MAX = 64;

export interface LeasePlan {
  readonly renew: readonly LeaseSeen[];
  readonly take: readonly LeaseSeen[];
  /** Ranges held before that are another's now. */
  readonly lost: readonly number[];
}

/**
 * What to do about the leases, from what was seen: pure. `held`: range → epoch. `lostTrack`: an owner whose leases may be taken although
 * they run: oneself, when a taking was done and its answer never came.
 */
export function planLeases(
  seen: readonly LeaseSeen[],
  held: ReadonlyMap<number, number>,
  rangesMax: number,
  lostTrack = '',
): LeasePlan {
  const mine = seen.filter(({ range, epoch }) => held.get(range) === epoch);
  const lost = [...held.keys()].filter((range) => !mine.some((lease) => lease.range === range));
  const free = seen.filter(
    (lease) => (lease.owner === '' || lease.owner === lostTrack || lease.expired) && !mine.includes(lease),
  );
  return { renew: mine, take: free.slice(0, Math.max(0, rangesMax - mine.length)), lost };
}

export interface LeaseIdentity {
  readonly scope: string;
  readonly owner: string;
  readonly leaseMs: number;
}

/** Makes the rows of a scope that are missing. */
export function* makeLeases(dialect: Dialect, scope: string): Steps<void> {
  for (let range = 0; range < SHARDS; range += RANGE_SHARDS) {
    yield leaseStatements(dialect).make({ scope, first: range, last: range + RANGE_SHARDS - 1 });
  }
}

/** All leases of a scope; a read that takes no lock. */
export function* seeLeases(
  dialect: Dialect,
  { scope, leaseMs }: Pick<LeaseIdentity, 'scope' | 'leaseMs'>,
  nowMs: number,
): Steps<LeaseSeen[]> {
  const { rows } = yield* run(leaseStatements(dialect).see({ scope, now: nowMs, ahead: aheadMaxMs(leaseMs) }));
  return rows.map((row) => ({
    range: asNumber(row['first_shard']),
    owner: asText(row['owner']),
    epoch: asNumber(row['epoch']),
    expired: asNumber(row['due']) === EXPIRED,
    farAhead: asNumber(row['due']) === FAR_AHEAD,
  }));
}

/** What ends in a far future ends in `leaseMs`. Not taken at once: its holder may be alive, and has that long to renew. */
export function* shortenLeases(
  dialect: Dialect,
  { scope, leaseMs }: Pick<LeaseIdentity, 'scope' | 'leaseMs'>,
  nowMs: number,
): Steps<void> {
  yield leaseStatements(dialect).shorten({ scope, leaseMs, now: nowMs, ahead: aheadMaxMs(leaseMs) });
}

/** Renews and takes; returns range → epoch of what is held afterwards. A lease that changed since it was seen is left to its new owner. */
export function* keepLeases(
  dialect: Dialect,
  { scope, owner, leaseMs }: LeaseIdentity,
  plan: LeasePlan,
  nowMs: number,
  lostTrack = '',
): Steps<Map<number, number>> {
  const statements = leaseStatements(dialect);
  const held = new Map<number, number>();
  for (const { range, epoch } of plan.renew) {
    const { changes } = yield* run(statements.renew({ scope, range, owner, epoch, now: nowMs, leaseMs }));
    if (changes > 0) held.set(range, epoch);
  }
  for (const { range, epoch } of plan.take) {
    const { changes } = yield* run(
      statements.take({ scope, range, owner, epoch, next: epoch + 1, lostTrack, now: nowMs, leaseMs }),
    );
    if (changes > 0) held.set(range, epoch + 1);
  }
  return held;
}

/** Gives leases back, so that another relay need not wait for their expiry. */
export function* releaseLeases(
  dialect: Dialect,
  { scope, owner }: LeaseIdentity,
  held: ReadonlyMap<number, number>,
): Steps<void> {
  for (const [range, epoch] of held) yield leaseStatements(dialect).release({ scope, range, owner, epoch });
}

const EXPIRED = 1;
const FAR_AHEAD = 2;

export const leaseStatements = perDialect((dialect) => {
  const { build } = dialect;
  const now = dialect.now ?? hole<number>('now');
  const farAhead = sql<SqlBool>`expires_at > ${now} + ${hole<number>('ahead')}`;
  return {
    make: prepared<'scope' | 'first' | 'last'>(
      dialect.ignoreTaken(
        build.insertInto('tallystick_lease').values({
          scope: hole('scope'),
          first_shard: hole('first'),
          last_shard: hole('last'),
          owner: '',
          epoch: 0,
          expires_at: 0,
        }),
      ),
    ),
    see: prepared<'scope' | 'now' | 'ahead'>(
      build
        .selectFrom('tallystick_lease')
        .select((of) => [
          'first_shard',
          'owner',
          'epoch',
          of.case().when('expires_at', '<=', now).then(EXPIRED).when(farAhead).then(FAR_AHEAD).else(0).end().as('due'),
        ])
        .where('scope', '=', hole<string>('scope'))
        .orderBy('first_shard'),
    ),
    renew: prepared<'scope' | 'range' | 'owner' | 'epoch' | 'now' | 'leaseMs'>(
      build
        .updateTable('tallystick_lease')
        .set((of) => ({ expires_at: of(of.val(now), '+', hole<number>('leaseMs')) as never }))
        .where('scope', '=', hole<string>('scope'))
        .where('first_shard', '=', hole<number>('range'))
        .where('owner', '=', hole<string>('owner'))
        .where('epoch', '=', hole<number>('epoch')),
    ),
    shorten: prepared<'scope' | 'now' | 'leaseMs' | 'ahead'>(
      build
        .updateTable('tallystick_lease')
        .set((of) => ({ expires_at: of(of.val(now), '+', hole<number>('leaseMs')) as never }))
        .where('scope', '=', hole<string>('scope'))
        .where(farAhead),
    ),
    take: prepared<'scope' | 'range' | 'owner' | 'epoch' | 'next' | 'lostTrack' | 'now' | 'leaseMs'>(
      build
        .updateTable('tallystick_lease')
        .set((of) => ({
          owner: hole<string>('owner'),
          epoch: hole<number>('next'),
          expires_at: of(of.val(now), '+', hole<number>('leaseMs')) as never,
        }))
        .where('scope', '=', hole<string>('scope'))
        .where('first_shard', '=', hole<number>('range'))
        .where('epoch', '=', hole<number>('epoch'))
        .where((of) => of.or([of('owner', '=', ''), of('owner', '=', hole<string>('lostTrack')), of('expires_at', '<=', now)])),
    ),
    release: prepared<'scope' | 'range' | 'owner' | 'epoch'>(
      build
        .updateTable('tallystick_lease')
        .set({ owner: '', expires_at: 0 })
        .where('scope', '=', hole<string>('scope'))
        .where('first_shard', '=', hole<number>('range'))
        .where('owner', '=', hole<string>('owner'))
        .where('epoch', '=', hole<number>('epoch')),
    ),
  };
});
