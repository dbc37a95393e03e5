import type { Compilable } from 'kysely';

/**
 * Statements are compiled once, with named holes where values go, and filled at every use: Kysely gives the text and the order of
 * the holes for the dialect, so a statement costs no compilation at run time and its text never varies (drivers keep it prepared).
 * Lists are padded to a power of two, so even `in (…)` has a handful of texts.
 */
export interface Statement {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
  /** Whether rows are expected back, or only a count of rows changed. */
  readonly reads: boolean;
  /** One per message or look: worth keeping prepared. */
  readonly often?: Often | undefined;
  /** Its rows may come as those of a binary COPY, in the result's `value`, where the driver can do that. */
  readonly copies?: boolean | undefined;
}

/**
 * What is said again and again. `insert`: how it is done never depends on what is in the tables. `read`: it does, so how it is done has to be
 * thought about anew from time to time.
 */
export type Often = 'insert' | 'read';

/** Lists and truth values are for PostgreSQL only. */
export type SqlValue =
  | string
  | number
  | boolean
  | Uint8Array
  | null
  | readonly string[]
  | readonly (number | null)[]
  | readonly (string | null)[]
  | readonly (Uint8Array | null)[];

/** What the database answered: rows for a reading statement, and how many rows a writing one changed. */
export interface StatementResult {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly changes: number;
  /** What a {@link Call} returned. */
  readonly value?: unknown;
}

/** The user's own work between two statements: called on a synchronous handle, called and awaited on an asynchronous one. */
export interface Call {
  call(): unknown;
}

/** A compiled statement; call it with a value per hole. */
export type Prepared<Name extends string> = (values: Readonly<Record<Name, SqlValue>>) => Statement;

/** Work on a database as a sequence of statements: each `yield*` gives the answer back. One logic for synchronous and asynchronous handles. */
export type Steps<T> = Generator<Statement | Call, T, StatementResult>;

/** Compiles `query`, in which every value is a {@link hole}; `often` as in {@link Statement}. */
export function prepared<Name extends string>(query: Compilable, often?: Often): Prepared<Name> {
  const { sql: text, parameters } = query.compile();
  const reads = /^\s*(select|with|pragma)\b/i.test(text) || /\breturning\b/i.test(text);
  const order = parameters.map(fixedOrHole);
  return (values) => ({ sql: text, reads, often, parameters: order.map((take) => take(values)) });
}

/** A place for a value of a given name; a name may be used more than once. */
export function hole<T>(name: string): T {
  return new Hole(name) as T;
}

class Hole {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

function fixedOrHole(parameter: unknown): (values: Readonly<Record<string, SqlValue>>) => SqlValue {
  if (!(parameter instanceof Hole)) return () => parameter as SqlValue;
  const { name } = parameter;
  return (values) => {
    const value = values[name];
    if (value === undefined) throw new Error(`statement: no value for ${name}`);
    return value;
  };
}

/** A statement over a list: compiled per power of two, the list padded with its last member. At most {@link LIST_MAX} members. */
export function preparedList<Name extends string>(
  query: (holes: readonly string[]) => Compilable,
): (values: Readonly<Record<Name, SqlValue>>, list: readonly string[]) => Statement {
  const byLength = new Map<number, Prepared<string>>();
  return (values, list) => {
    if (list.length === 0 || list.length > LIST_MAX) throw new Error(`statement: a list of ${list.length}`);
    const length = 2 ** Math.ceil(Math.log2(list.length));
    let compiled = byLength.get(length);
    if (compiled === undefined) {
      compiled = prepared(query(Array.from({ length }, (_, i) => hole<string>(`list${i}`))));
      byLength.set(length, compiled);
    }
    const filled: Record<string, SqlValue> = { ...values };
    for (let i = 0; i < length; i++) filled[`list${i}`] = list[Math.min(i, list.length - 1)]!;
    return compiled(filled);
  };
}

/** Longest list of one statement: 256 ids stay far below every driver's limit of parameters. */
export const LIST_MAX = 256;

/** A list cut into pieces a statement can take. */
export function pieces<T>(list: readonly T[]): T[][] {
  const cut: T[][] = [];
  for (let at = 0; at < list.length; at += LIST_MAX) cut.push(list.slice(at, at + LIST_MAX));
  return cut;
}

/** A piece of SQL text that needs no compiler. */
export function plain(sql: string, reads = false): Statement {
  return { sql, parameters: [], reads };
}

/** Runs one statement inside steps. */
export function* run(statement: Statement | Call): Steps<StatementResult> {
  return yield statement;
}
