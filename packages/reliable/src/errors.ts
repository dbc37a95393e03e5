import { errorTable, type TableError } from '@tallystick/base';

/** Every error of this package: switch on `code`, loop on `retry`. */
export const ERRORS = {
  NOT_IN_TRANSACTION: {
    sentence: 'The handle is not in a transaction, so nothing was written; begin one first or use transaction(db, fn)',
    retry: 'never',
  },
  ALREADY_IN_TRANSACTION: {
    sentence: 'The handle is in a transaction already; give this part a handle of its own',
    retry: 'never',
  },
  ASYNC_IN_SYNC: {
    sentence:
      'A synchronous handle cannot keep its transaction open over an await; the work was rolled back, make it synchronous',
    retry: 'never',
  },
  ADD_STILL_OPEN: {
    sentence: 'The transaction ended with writes still running; await every add() and once(); it was rolled back',
    retry: 'never',
  },
  NOT_COMMITTED: {
    sentence: 'The commit became a rollback: nothing of the transaction was written',
    retry: 'never',
  },
  COMMIT_UNKNOWN: {
    sentence:
      'The connection was lost while the commit was on its way, so it may have happened or not: do not simply run it again, look first',
    retry: 'never',
  },
  COMMIT_UNSEEN: {
    sentence: 'The commit of this handle cannot be seen; use the handle that transaction(db, fn) gives you',
    retry: 'never',
  },
  WRONG_DATABASE: {
    sentence: 'The handle belongs to another database than the one that was handed to createOutbox or createCalls',
    retry: 'never',
  },
  NO_TRANSPORT: {
    sentence: "A volatile message is not stored, so the outbox itself pushes it: createOutbox needs the option 'transport'",
    retry: 'never',
  },
  OUTBOX_CLOSED: { sentence: 'The outbox is closed and takes no more volatile messages', retry: 'never' },
  UNKNOWN_TYPE: { sentence: 'No type of message has this name', retry: 'never' },
  BAD_MESSAGE: { sentence: 'The message cannot be stored', retry: 'never' },
  BAD_KEY: { sentence: 'The key cannot be stored', retry: 'never' },
  DUPLICATE_ID: { sentence: 'A message with this id is in the table already', retry: 'never' },
  FENCED: {
    sentence: 'A check-back has answered rollback for this local transaction; it must not commit any more',
    retry: 'never',
  },
  ALREADY_RECORDED: { sentence: 'This local transaction is recorded already', retry: 'never' },
  NOT_DURABLE: { sentence: 'The database would lose committed work at a power cut', retry: 'never' },
  UNKNOWN_HANDLE: {
    sentence:
      'The database handle has no known shape (better-sqlite3, libsql, node:sqlite, pg, postgres.js, Kysely, Drizzle, Knex, TypeORM, MikroORM, Prisma, or an object with tallystick, dialect, execute and inTransaction)',
    retry: 'never',
  },
  TURN_TIMEOUT: {
    sentence:
      'What was begun before in the same transaction has not ended for so long. Perhaps this is part of it and has lost its asynchronous context (AsyncLocalStorage) on the way, so that each waits for the other',
    retry: 'never',
  },
  NO_ANSWER: { sentence: 'The database has not answered; its server may be gone without a word', retry: 'later' },
  CLOSED: { sentence: 'The database handle is closed', retry: 'never' },
  NOT_MIGRATED: {
    sentence: 'The tables are missing or older than this package: `npx tallystick migrate --database URL`, or await migrate(db)',
    retry: 'never',
  },
  BAD_NAME: { sentence: 'A name or value that would become part of a statement is not accepted', retry: 'never' },
  SCHEMA_TOO_NEW: { sentence: 'The tables were made by a newer version of this package', retry: 'never' },
  NO_HANDLER: {
    sentence: 'Nobody handles messages of this type here; register one with inbox.handle(type, handler)',
    retry: 'later',
  },
  HANDLER_TAKEN: { sentence: 'Messages of this type have a handler already', retry: 'never' },
  HANDLER_TIMEOUT: {
    sentence: 'The handler took longer than handlerTimeoutMs; whatever it did was rolled back and counts as failed',
    retry: 'later',
  },
  HANDLER_OVER: { sentence: 'emit() and call() end with their handler; await everything inside of it', retry: 'never' },
  NO_OUTBOX: { sentence: 'emit() needs an outbox; hand one to the inbox: createInbox(db, { outbox })', retry: 'never' },
  LOCK_BUSY: { sentence: 'The lock is held by another', retry: 'later' },
  LOCK_LOST: {
    sentence: 'The lock was held longer than lockHoldMs and another has it now; what was decided under it was rolled back',
    retry: 'later',
  },
  VERSION_CONFLICT: { sentence: 'The row has changed since it was read', retry: 'later' },
  BAD_CALL: { sentence: 'The call cannot be stored', retry: 'never' },
  INBOX_STATE: { sentence: 'The inbox cannot do this now', retry: 'never' },
  RELAY_STATE: { sentence: 'The relay cannot do this now', retry: 'never' },
} as const;

export type ReliableErrorCode = keyof typeof ERRORS;
export type ReliableError = TableError<ReliableErrorCode>;

export const fail: (code: ReliableErrorCode, seen?: string, cause?: unknown) => ReliableError = errorTable(ERRORS);
