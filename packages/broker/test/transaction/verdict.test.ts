import { describe, expect, it } from 'vitest';
import { HalfTable } from '../../src/transaction/half-table.ts';
import { judge, type EndClaim } from '../../src/transaction/verdict.ts';

const CLAIM: EndClaim = { outcome: 'committed', group: 'pay', offset: 0, position: 700, messageId: 'K1', transactionId: 'K1' };

/** state of half 0 | what differs in the claim | verdict */
const TABLE = `
  open        |                                    | apply
  open        | outcome=rolled-back                | apply
  open        | group=other                        | The producer group wrong
  open        | position=701                       | The commit log offset wrong
  open        | offset=1                           | Find prepared transaction message failed
  open        | messageId=X transactionId=X        | The unique key wrong
  open        | messageId=X                        | apply
  open        | transactionId=                     | apply
  parked      |                                    | apply
  parked      | outcome=rolled-back                | apply
  parked      | group=other                        | The producer group wrong
  committed   |                                    | same
  committed   | outcome=rolled-back                | opposite
  rolled-back | outcome=rolled-back                | same
  rolled-back |                                    | opposite
  absent      |                                    | Find prepared transaction message failed
`;

const rows = TABLE.trim()
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()) as [string, string, string]);

describe('the judgement on a second confirmation', () => {
  it.each(rows)('%s half, claim with "%s": %s', (state, differences, expected) => {
    const table = new HalfTable();
    if (state !== 'absent') table.add(0, 700, 1, 'pay', 'orders', 'K1');
    if (state === 'parked') table.park(0);
    if (state === 'committed' || state === 'rolled-back') table.settle(0, state);
    const changes = differences
      .split(' ')
      .filter((text) => text !== '')
      .map((text) => text.split('=', 2) as [string, string]);
    const claim = {
      ...CLAIM,
      ...Object.fromEntries(
        changes.map(([name, value]) => [name, name === 'offset' || name === 'position' ? Number(value) : value]),
      ),
    };
    const verdict = judge(table, claim);
    expect(verdict.kind === 'wrong' ? verdict.text : verdict.kind).toBe(expected);
  });
});
