import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openForReading } from '../../src/demo/database.ts';
import { jsonLines, run } from '../processes.ts';

interface JournalRow {
  readonly serial: string;
  readonly account: string;
  readonly amount: number;
  readonly state: string;
}

function readBank(path: string): { journal: JournalRow[]; unexplained: number; hold: number | undefined } {
  const db = openForReading(path)!;
  const journal = db.prepare('SELECT serial, account, amount, state FROM journal ORDER BY serial').all() as JournalRow[];
  const unexplained = db
    .prepare(
      `SELECT count(*) AS n FROM account a WHERE id <> 'hold'
        AND balance <> opening + (SELECT coalesce(sum(amount), 0) FROM journal WHERE account = a.id)`,
    )
    .get() as { n: number };
  const hold = db.prepare(`SELECT balance FROM account WHERE id = 'hold'`).get() as { balance: number } | undefined;
  db.close();
  return { journal, unexplained: unexplained.n, hold: hold?.balance };
}

describe('tallystick demo bank', () => {
  it('moves money through every fault and leaves books that anyone can check', { timeout: 120_000 }, async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'demo-e2e-')), 'run');
    const { code, out, err } = await run(['demo', 'bank', '--transfers', '50', '--seed', '3', '--data', folder, '--json']);
    expect({ code, err }).toMatchObject({ code: 0 });
    const [report, ...more] = jsonLines(out);
    expect(more).toEqual([]);
    expect(out.trimEnd().split('\n').at(-1)).toBe(JSON.stringify(report));
    expect(report).toMatchObject({
      seed: 3,
      transfers: 50,
      settled: 50,
      lost: 0,
      duplicateEffects: 0,
      deadLettersMended: 1,
      violations: [],
    });
    expect(report!['moneyAfter']).toBe(report!['moneyBefore']);
    expect(report!['checkBacks']).toBeGreaterThanOrEqual(1);
    expect(report!['duplicatesAbsorbed']).toBeGreaterThanOrEqual(1);
    const faults = report!['faults'] as { name: string; count: number }[];
    expect(faults.map(({ name }) => name).sort()).toEqual([
      'bank-a-killed',
      'bank-a-paused',
      'bank-b-killed',
      'broker-killed',
      'confirmation-lost',
      'connection-cut',
      'poison',
    ]);
    expect(faults.filter(({ count }) => count < 1)).toEqual([]);

    const a = readBank(join(folder, 'bank-a.db'));
    const b = readBank(join(folder, 'bank-b.db'));
    expect(a.journal).toHaveLength(50);
    expect(a.journal.map(({ serial }) => serial)).toEqual(b.journal.map(({ serial }) => serial));
    expect(a.journal.every(({ amount, state }) => amount < 0 && state === 'succeeded')).toBe(true);
    expect(b.journal.every(({ amount, state }) => amount > 0 && state === 'succeeded')).toBe(true);
    expect(a.journal.map(({ amount }) => -amount)).toEqual(b.journal.map(({ amount }) => amount));
    expect([a.unexplained, b.unexplained, a.hold]).toEqual([0, 0, 0]);

    const processes = JSON.parse(readFileSync(join(folder, 'processes.json'), 'utf8')) as { name: string; pid: number }[];
    for (const { pid } of processes) expect(existsSync(`/proc/${pid}`)).toBe(false);
    rmSync(folder, { recursive: true });
  });

  it('fails and names the invariant when the inbox is left out', { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'demo-e2e-'));
    const { code, out, err } = await run([
      'demo',
      'bank',
      '--transfers',
      '50',
      '--seed',
      '3',
      '--data',
      folder,
      '--defect',
      'no-inbox',
      '--json',
    ]);
    expect(code).toBe(1);
    expect(err).toContain('violated: sum-of-money');
    expect(jsonLines(out)[0]!['duplicateEffects']).toBeGreaterThanOrEqual(1);
    rmSync(folder, { recursive: true });
  });
});
