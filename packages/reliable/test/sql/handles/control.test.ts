import { expect, test } from 'vitest';
import { controlsOf, endOf } from '../../../src/sql/handles/control.ts';

/** A text, and what its statements do, in order. */
const CASES = [
  ['commit', 'end'],
  ['  COMMIT work ;', 'end'],
  ['end transaction and chain', 'end and chain'],
  ['commit and no chain', 'end'],
  ['abort and  chain', 'end and chain'],
  ['rollback -- to x', 'end'],
  ['rollback/*to x*/work and chain', 'end and chain'],
  ['/* a /* b */ c */ rollback', 'end'],
  ['rollback to x', 'undo x'],
  ['ROLLBACK WORK TO SAVEPOINT X', 'undo x'],
  ['rollback transaction to "A ""b"""', 'undo A "b"'],
  ['rollback to savepoint', 'undo savepoint'],
  ['savepoint Sp_1', 'save sp_1'],
  ['release sp', 'release sp'],
  ['release savepoint ü', 'release ü'],
  ['savepoint U&"d\\0061t"', 'save'],
  ["prepare transaction 'x'", 'end'],
  ['prepare x as select 1', '-'],
  ["commit prepared 'x'", '-'],
  ["rollback prepared 'x'", '-'],
  ["select 'a; commit'; commit", '- | end'],
  ["select E'\\'; commit; '; savepoint a", '- | save a'],
  ['do $x$ begin commit; end $x$; select "a;b", $1; release a', '- | - | release a'],
  ['begin; savepoint a; rollback to a; commit', '- | save a | undo a | end'],
  ['create function f() returns int begin atomic select 1; end', ''],
  [';;', ''],
  ["rollback 'never closed", 'end'],
  ['/* never closed', ''],
] as const;

test.each(CASES)('%s: %s', (text, does) => {
  const seen = controlsOf(text).map((control) => {
    if (control === undefined) return '-';
    if (control.does === 'end') return control.chains ? 'end and chain' : 'end';
    return control.name === undefined ? control.does : `${control.does} ${control.name}`;
  });
  expect(seen.join(' | ')).toBe(does);
});

test('the end of a transaction is found by its place among the statements', () => {
  expect(endOf('select 1; rollback and chain; select 2; commit')).toEqual({ at: 1, chains: true });
  expect(endOf('update a set committed = 1 where "end" = $1; rollback to a')).toBeUndefined();
});
