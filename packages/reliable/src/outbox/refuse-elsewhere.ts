/**
 * Whether a handle is of the database that is meant, as far as that can be told without a question to a server. Connections of SQLite lead to
 * the same database when they have the same file open, whatever each of them calls it; one in memory belongs to its one connection, since
 * nothing tells a shared one from another.
 */
import { statSync } from 'node:fs';
import { fail } from '../errors.ts';
import type { Session, SyncSession } from '../sql/session.ts';
import { plain } from '../sql/statement.ts';

/** Throws WRONG_DATABASE, and CLOSED. */
export function refuseElsewhere(own: Session, session: Session): void {
  const { name } = own.dialect;
  if (session.dialect.name !== name) throw fail('WRONG_DATABASE', `${session.dialect.name}; that one is ${name}`);
  if (session.kind === 'async' || own.kind === 'async') return;
  const here = fileOf(own);
  if (here === undefined) throw fail('WRONG_DATABASE', IN_MEMORY);
  if (fileOf(session) !== here) throw fail('WRONG_DATABASE', 'another file');
}

const IN_MEMORY =
  'that one is in memory, and two connections cannot be known to share it (cache=shared): use the very handle that was handed over, or a file';

/** The file of a connection, as the system knows it; undefined: in memory. */
function fileOf(session: SyncSession): string | undefined {
  const { rows } = session.execute(plain('pragma database_list', true));
  const path = rows.find(({ name }) => name === 'main')?.['file'];
  if (typeof path !== 'string' || path === '') return undefined;
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  // One that was deleted under its connection has nothing but its name.
  return stat === undefined ? path : `${stat.dev}:${stat.ino}`;
}
