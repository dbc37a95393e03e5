/**
 * What is possible with the handles of each library: docs/reference/handles.md is made of it, and the contract of handles, which runs the
 * real libraries on a real PostgreSQL, registers its tests by it.
 */
export interface HandleCapabilities {
  readonly library: string;
  /** The version that the contract runs with. */
  readonly version: string;
  /** What `outbox.in(…)`, `inbox.once(…)` and `afterCommit(…)` take. */
  readonly handles: string;
  /** What `createOutbox(…)`, `createRelay(…)` and `transaction(…)` take. */
  readonly roots: string;
  /** Who sees the commit of a transaction that the library's own function began. `wrapper`: only `transaction(db, fn)` does. */
  readonly commitSeen: 'driver' | 'wrapper';
  /** How it is seen, or why not. */
  readonly commitBy: string;
  /** How a handle knows that its transaction is open. */
  readonly openBy: string;
  /** Round trips that messages cost beyond their own. */
  readonly extraRoundTrips: 'none' | 'one per transaction' | 'one per message';
  /** The library itself rejects a transaction in which a statement failed and was swallowed. `transaction(db, fn)` always does. */
  readonly rejectsFailedCommit: boolean;
}

const PROTOCOL = "the server's own messages on the connection";

export const HANDLE_CAPABILITIES: readonly HandleCapabilities[] = [
  {
    library: 'pg',
    version: '8.23',
    handles: '`Client`, `PoolClient`',
    roots: '`Pool`, `Client`',
    commitSeen: 'driver',
    commitBy: PROTOCOL,
    openBy: 'what the server said last',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'postgres.js',
    version: '3.4',
    handles: 'the `sql` of `sql.begin` and of savepoints, `await sql.reserve()`',
    roots: '`sql`',
    commitSeen: 'driver',
    commitBy: 'the statement that ends the transaction, and its answer',
    openBy: 'a savepoint, once per transaction',
    extraRoundTrips: 'one per transaction',
    rejectsFailedCommit: true,
  },
  {
    library: 'Kysely',
    version: '0.28',
    handles: '`trx` (also a controlled one)',
    roots: '`db`',
    commitSeen: 'driver',
    commitBy: `${PROTOCOL} (over pg; over another driver only the wrapper)`,
    openBy: 'Kysely itself',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'Drizzle on node-postgres',
    version: '0.45',
    handles: '`tx`',
    roots: '`db`',
    commitSeen: 'driver',
    commitBy: PROTOCOL,
    openBy: 'what the server said last',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'Drizzle on postgres.js',
    version: '0.45',
    handles: '`tx`',
    roots: '`db`',
    commitSeen: 'driver',
    commitBy: 'the statement that ends the transaction, and its answer',
    openBy: 'a savepoint, once per transaction',
    extraRoundTrips: 'one per transaction',
    rejectsFailedCommit: true,
  },
  {
    library: 'Knex',
    version: '3.3',
    handles: '`trx`',
    roots: '`knex`',
    commitSeen: 'driver',
    commitBy: PROTOCOL,
    openBy: 'Knex itself',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'TypeORM',
    version: '1.1',
    handles: 'the `EntityManager` of a transaction, `QueryRunner`',
    roots: '`DataSource`, an `EntityManager` outside of a transaction',
    commitSeen: 'driver',
    commitBy: PROTOCOL,
    openBy: 'TypeORM itself',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'MikroORM',
    version: '6.6',
    handles: 'an `EntityManager` while it is in a transaction',
    roots: '`MikroORM`, an `EntityManager`',
    commitSeen: 'driver',
    commitBy: PROTOCOL,
    openBy: 'MikroORM itself',
    extraRoundTrips: 'none',
    rejectsFailedCommit: false,
  },
  {
    library: 'Prisma',
    version: '7.10',
    handles: 'the client of an interactive `$transaction`',
    roots: '`PrismaClient`',
    commitSeen: 'wrapper',
    commitBy: 'Prisma has no hook and hides its connection',
    openBy: 'a statement, which Prisma refuses after the end',
    extraRoundTrips: 'one per message',
    rejectsFailedCommit: false,
  },
];
