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
  VOLATILE_NEEDS_WRAPPER: {
    sentence:
      "A volatile message leaves only when its commit has been seen: add it inside transaction(db, fn), with the option 'transport'",
    retry: 'never',
  },
  BAD_MESSAGE: { sentence: 'The message cannot be stored', retry: 'never' },
  BAD_KEY: { sentence: 'The key cannot be stored', retry: 'never' },
  DUPLICATE_ID: { sentence: 'A message with this id is in the outbox already', retry: 'never' },
  FENCED: {
    sentence: 'A check-back has answered rollback for this local transaction; it must not commit any more',
    retry: 'never',
  },
  ALREADY_RECORDED: { sentence: 'This local transaction is recorded already', retry: 'never' },
  NOT_DURABLE: { sentence: 'The database would lose committed work at a power cut', retry: 'never' },
  UNKNOWN_HANDLE: {
    sentence:
      'The database handle has no known shape (better-sqlite3, libsql, node:sqlite, or an object with tallystick, dialect, execute and inTransaction)',
    retry: 'never',
  },
  CLOSED: { sentence: 'The database handle is closed', retry: 'never' },
  SCHEMA_TOO_NEW: { sentence: 'The tables were made by a newer version of this package', retry: 'never' },
  RELAY_STATE: { sentence: 'The relay cannot do this now', retry: 'never' },
} as const;

export type ReliableErrorCode = keyof typeof ERRORS;
export type ReliableError = TableError<ReliableErrorCode>;

export const fail: (code: ReliableErrorCode, seen?: string, cause?: unknown) => ReliableError = errorTable(ERRORS);
