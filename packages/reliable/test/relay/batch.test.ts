import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Batch, Waves, type ClaimedRow } from '../../src/relay/batch.ts';
import { planLeases, type LeaseSeen } from '../../src/relay/leases.ts';

let made = 0;
function row(key: string | null, bodyBytes = 1): ClaimedRow {
  const sequence = ++made;
  return {
    sequence,
    id: `m${sequence}`,
    shard: 0,
    key,
    topic: 't',
    tag: null,
    state: 'waiting',
    createdAt: 0,
    type: '',
    exchange: null,
    exchangeType: null,
    routingKey: null,
    confirmWithin: 0,
    started: 0,
    keepFor: 0,
    message: undefined,
    attempts: 0,
    tries: 0,
    dueAt: 0,
    bodyBytes,
    range: 0,
    epoch: 1,
  };
}

test('a batch leaves alone what is in flight, and every row whose key is', () => {
  const flyingRow = row('a');
  const rows = [flyingRow, row('a'), row('b'), row(null)];
  const batch = new Batch(10, 100);
  for (const one of rows) batch.offer(one, { ids: new Set([flyingRow.id]), keys: new Set(['a']) });
  expect(batch.rows).toEqual(rows.slice(2));
});

test('a batch is bounded by rows and by bytes; a row larger than that travels alone', () => {
  const none = { ids: new Set<string>(), keys: new Set<string>() };
  const byRows = new Batch(2, 100);
  for (const one of [row(null), row(null), row(null)]) byRows.offer(one, none);
  const byBytes = new Batch(10, 100);
  for (const one of [row(null, 60), row(null, 50), row(null, 1)]) byBytes.offer(one, none);
  const large = new Batch(10, 100);
  for (const one of [row(null, 5000), row(null, 1)]) large.offer(one, none);
  expect([byRows.rows.length, byBytes.rows.length, large.rows.length]).toEqual([2, 1, 1]);
  expect([byRows.full, byBytes.full, large.full]).toEqual([true, true, true]);
});

test('waves: no key twice in a wave, order kept, and the first that is not confirmed ends its key', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('a', 'b', 'c', null), { maxLength: 30 }),
      fc.array(fc.boolean(), { minLength: 31, maxLength: 31 }),
      (keys, luck) => {
        const rows = keys.map((key) => row(key));
        const waves = new Waves(rows);
        const confirmed = new Set<ClaimedRow>();
        const pushed: ClaimedRow[] = [];
        for (let wave = waves.take(); wave.length > 0; wave = waves.take()) {
          const inWave = wave.map(({ key }) => key).filter((key) => key !== null);
          expect(new Set(inWave).size).toBe(inWave.length);
          for (const one of wave) {
            pushed.push(one);
            if (!luck[rows.indexOf(one)]!) continue;
            confirmed.add(one);
            waves.confirmed(one);
          }
        }
        // Exactly the rows whose earlier ones of the key were all confirmed have been pushed, each once.
        const due = rows.filter(
          (one, at) => one.key === null || rows.slice(0, at).every((other) => other.key !== one.key || confirmed.has(other)),
        );
        expect(new Set(pushed)).toEqual(new Set(due));
        expect(pushed).toHaveLength(due.length);
      },
    ),
  );
});

/** Seen leases as owner:epoch (! = expired), held as range:epoch, rangesMax → renew | take | lost. */
const leaseTable = `
me:3 other:5 :0        | 0:3      | 16 → 0 | 32 |
me:3! other:5! :0      | 0:3      | 16 → 0 | 16,32 |
other:4 other:5 :0     | 0:3,32:1 | 16 → | 32 | 0,32
me:9 other:5 :0        |          | 16 → | 32 |
me:9! other:5 :0       |          | 16 → | 0,32 |
:0 :0 :0               |          | 2  → | 0,16 |
me:1 :0 :0             | 0:1      | 1  → 0 | |
me:1 me:1 other:2      | 0:1,16:1 | 16 → 0,16 | |
`;

test.each(leaseTable.trim().split('\n'))('leases: %s', (line) => {
  const [given, expected] = line.split('→').map((part) => part.trim()) as [string, string];
  const [leases, holds, rangesMax] = given.split('|').map((part) => part.trim()) as [string, string, string];
  const seen = leases.split(/ +/).map((text, at): LeaseSeen => {
    const [owner, epoch] = text.split(':') as [string, string];
    return { range: at * 16, owner, epoch: parseInt(epoch, 10), expired: epoch.endsWith('!') };
  });
  const held = new Map(holds === '' ? [] : holds.split(',').map((text) => text.split(':').map(Number) as [number, number]));
  const plan = planLeases(seen, held, Number(rangesMax));
  const names = (list: readonly LeaseSeen[]): string => list.map(({ range }) => range).join(',');
  expect([names(plan.renew), names(plan.take), plan.lost.join(',')]).toEqual(expected.split('|').map((part) => part.trim()));
});
