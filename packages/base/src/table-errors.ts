/**
 * Error tables: every error a caller can meet is one row, with a sentence and whether trying again helps. The code is what
 * programs switch on, the sentence is for people, and `retry` is for loops.
 */

/** `later`: the same call may succeed after a wait; `elsewhere`: at another place or queue at once; `never`: not without a change. */
export type Retry = 'never' | 'later' | 'elsewhere';

export interface ErrorRow {
  readonly sentence: string;
  readonly retry: Retry;
}

/** An error of a table. `message` is the row's sentence, then what was seen. */
export class TableError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly retry: Retry;

  constructor(code: Code, row: ErrorRow, seen?: string, cause?: unknown) {
    super(seen === undefined ? row.sentence : `${row.sentence}: ${seen}`, cause === undefined ? undefined : { cause });
    this.name = 'TableError';
    this.code = code;
    this.retry = row.retry;
  }
}

/** A maker of errors from rows: `const fail = errorTable({ FULL: {…} }); throw fail('FULL', '10000 waiting')`. */
export function errorTable<const T extends Readonly<Record<string, ErrorRow>>>(
  rows: T,
): (code: keyof T & string, seen?: string, cause?: unknown) => TableError<keyof T & string> {
  return (code, seen, cause) => new TableError(code, rows[code]!, seen, cause);
}
