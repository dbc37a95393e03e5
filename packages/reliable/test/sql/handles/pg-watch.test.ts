import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { isPgConnection, watchEnd, type PgConnection } from '../../../src/sql/handles/pg-watch.ts';

/** What the server says after each statement: its tags, then whether a transaction is open (T, E) or not (I); `end` is the connection's. */
const CASES = [
  ['COMMIT → I', 'commit'],
  ['ROLLBACK → I', 'rollback'],
  ['INSERT 0 1 → T, COMMIT → I', 'commit'],
  ['SAVEPOINT → T, RELEASE → T, COMMIT → I', 'commit'],
  ['SAVEPOINT → T, ROLLBACK → T', undefined],
  ['SAVEPOINT → T, ROLLBACK → T, COMMIT → I', 'commit'],
  ['→ E, ROLLBACK → I', 'rollback'],
  ['SELECT 1 + COMMIT + BEGIN → T', 'commit'],
  ['COMMIT → T, ROLLBACK → I', 'commit'],
  ['PREPARE TRANSACTION → I', 'unknown'],
  ['INSERT 0 1 → T, end', 'unknown'],
  ['end', 'unknown'],
  ['→ I', 'rollback'],
] as const;

class Connection extends EventEmitter {
  query(): void {}
  parse(): void {}
  sync(): void {}
}

function play(connection: Connection, script: string): void {
  for (const answer of script.split(', ')) {
    if (answer === 'end') {
      connection.emit('end');
      continue;
    }
    const [tags = '', status = ''] = answer.split('→').map((part) => part.trim());
    for (const text of tags.split(' + ')) if (text !== '') connection.emit('commandComplete', { text });
    connection.emit('readyForQuery', { status });
  }
}

test.each(CASES)('%s is told as %s', (script, outcome) => {
  const connection = new Connection();
  const told: string[] = [];
  watchEnd(connection as unknown as PgConnection, (one) => void told.push(one));
  play(connection, script);
  expect(told).toEqual(outcome === undefined ? [] : [outcome]);
});

test('a rollback that chains ends the transaction, where the statement is known', () => {
  const connection = new Connection();
  const told: string[] = [];
  watchEnd(
    connection as unknown as PgConnection,
    (one) => void told.push(one),
    () => 'ROLLBACK AND CHAIN',
  );
  play(connection, 'ROLLBACK → T, COMMIT → I');
  expect(told).toEqual(['rollback']);
});

test.each([
  ['COMMIT → I, SELECT 1 → I, COMMIT → I', 'commit'],
  ['ROLLBACK → I, COMMIT → I', 'rollback'],
  ['COMMIT → I, end', 'commit'],
  ['COMMIT → I, BEGIN → T, SELECT 1 → T, ROLLBACK → I', 'commit rollback'],
  ['COMMIT → I, ROLLBACK → I, SELECT 1 + BEGIN + COMMIT → I, SELECT 1 → I', 'commit commit'],
  ['COMMIT → T, ROLLBACK → I, SELECT 1 → I', 'commit rollback'],
])('whoever watches again as the end is told hears of transactions only: %s', (script, outcomes) => {
  const connection = new Connection();
  const told: string[] = [];
  const again = (): void =>
    watchEnd(
      connection as unknown as PgConnection,
      (outcome) => {
        told.push(outcome);
        again();
      },
      () => undefined,
    );
  again();
  play(connection, script);
  expect(told.join(' ')).toBe(outcomes);
});

test('everybody is told once, and nobody listens any more', () => {
  const connection = new Connection();
  const told: string[] = [];
  for (const name of ['a', 'b'])
    watchEnd(
      connection as unknown as PgConnection,
      (outcome) => void told.push(`${name} ${outcome}`),
      () => undefined,
    );
  expect(connection.listenerCount('readyForQuery')).toBe(1);
  play(connection, 'COMMIT → I, ROLLBACK → I');
  expect(told).toEqual(['a commit', 'b commit']);
  expect(connection.eventNames()).toEqual([]);
});

test('one who is told may watch the next transaction', () => {
  const connection = new Connection();
  const told: string[] = [];
  const watch = (): void =>
    watchEnd(connection as unknown as PgConnection, (outcome) => {
      told.push(outcome);
      if (told.length < 3) watch();
    });
  watch();
  play(connection, 'COMMIT → I, BEGIN → T, ROLLBACK → I, BEGIN → T, COMMIT → I, COMMIT → I');
  expect(told).toEqual(['commit', 'rollback', 'commit']);
});

test('a connection is known by its structure', () => {
  expect(isPgConnection(new Connection())).toBe(true);
  for (const other of [undefined, null, 1, {}, new EventEmitter()]) expect(isPgConnection(other)).toBe(false);
});
