/** `docs/reference/handles.md`: what is possible with the handles of each library, from the capability table. */
import type { HandleCapabilities } from '@tallystick/reliable';

export function handlesPage(rows: readonly HandleCapabilities[]): string {
  return `${[HEAD, table(rows), READING, COMMITS].join('\n\n')}\n`;
}

function table(rows: readonly HandleCapabilities[]): string {
  const head = [
    'library',
    'handle of a transaction',
    'root',
    'commit seen by',
    'transaction is open',
    'round trips more',
    'rejects a failed commit itself',
  ];
  const lines = rows.map((row) => [
    `${row.library} ${row.version}`,
    row.handles,
    row.roots,
    row.commitSeen === 'driver' ? `the driver: ${row.commitBy}` : `\`transaction(db, fn)\` only: ${row.commitBy}`,
    `says ${row.openBy}`,
    row.extraRoundTrips,
    row.rejectsFailedCommit ? 'yes' : 'no',
  ]);
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

const HEAD = `<!-- Made from the capability table of the reliable package by scripts/docs.ts. Do not edit. -->

# Handles

A *handle* is what your library gives you inside a transaction: hand it to \`outbox.in(tx)\`, \`inbox.once(tx, …)\` or \`afterCommit(tx, fn)\`, and what is written belongs to that transaction. A *root* is what transactions are begun from: hand it to \`createOutbox\`, \`createInbox\`, \`createRelay\` or \`transaction(db, fn)\`. Both are known by their structure, so no library is a dependency of this package, and no type needs a cast. SQLite handles (better-sqlite3, libsql, node:sqlite) are both at once; for any other driver implement \`AsyncHandle\`.`;

const READING = `Every row is a contract that runs with the library itself on a real PostgreSQL: rollback leaves nothing; a handle is refused outside of a transaction, after its end and in another database; a commit is seen once, and not for a rollback, for a savepoint, or for the COMMIT of a failed transaction, which the database answers with a rollback; connections are cut at the COMMIT. Two limits: a client of pg stands for its connection, so one that was released and now carries somebody else's transaction is taken for that; and a handle of postgres.js or Drizzle that was never used before its transaction ended is told from a good one only while its connection is idle. All other handles stand for one transaction, and are over with it.`;

const COMMITS = `## When the commit is seen

\`transaction(db, fn)\` works with every root and uses the library's own begin and commit. It sees the commit itself, runs the functions of \`afterCommit\` after it, runs the whole transaction again after a deadlock or a serialization failure (\`retries\`), and throws \`NOT_COMMITTED\` when the database made a rollback of the commit. When the connection is lost while the COMMIT is on its way it throws \`COMMIT_UNKNOWN\`, unless \`resolveOutcome\` is set: then PostgreSQL is asked on a new connection (\`txid_status\`), and the call returns or throws \`NOT_COMMITTED\` by what really happened. It still throws \`COMMIT_UNKNOWN\` where the server cannot know: after a failover to a standby, and after a crash when the number is said to be committed, because a transaction that was lost with the crash gives its number to another. That costs one statement per transaction.

In a transaction of your own, the driver tells: the relay is woken at the commit, and \`afterCommit\` and volatile messages work. Where it cannot, both throw \`COMMIT_UNSEEN\`; stored messages are found by the relay's sweep all the same (\`sweepIntervalMs\`).

What waits for the commit inside a nested transaction (a savepoint) waits for the outermost one: a volatile message, or a function given to \`afterCommit\`. When the savepoint is rolled back, by the library or by a statement of your own, it is undone with it, as stored messages are, wherever the driver sees the commit. Where only \`transaction(db, fn)\` does (Prisma, SQLite, an \`AsyncHandle\` without \`onUndone\`), savepoints of your own are not seen: there, what was begun inside of one still leaves at the commit, and only what \`inbox.once\` undoes is undone.

Statements of your own that end the transaction are read, too, in any case and with comments in them: \`rollback and chain\` is a rollback, \`commit and chain\` a commit, and what is added after either belongs to the transaction that follows.

Errors of these functions are reported and change nothing. When the outcome is unknown they do not run, and that is reported, too.

## Kept statements

Where the connection is one of pg (also under Kysely, Drizzle, Knex, TypeORM and MikroORM), the statement that adds a message is kept prepared under a name, \`tallystick_…\`, so the server plans it once per connection: that is most of what a message costs. It begins with the second message of a connection, after one question, once: whether the server's process is the one that the connection was told at its start. Behind a pooler (pgbouncer) it is another, and nothing is kept, so it works there in every mode. \`DISCARD ALL\` and \`DEALLOCATE ALL\` are noticed; when the server does not know the name after all, that one transaction fails and the connection keeps nothing from then on. postgres.js keeps its statements itself (\`prepare\`).`;
