/**
 * Lets the harness stand between a program and its connection: statements that it cares about wait for it before they leave, after they have
 * left, and after they are answered. All others pass untouched and unqueued.
 */
import type pg from 'pg';

export interface QueryWatch {
  readonly cares: RegExp;
  before?(sql: string): Promise<void> | undefined;
  /** It has left; its answer has not been read. */
  sent?(sql: string): Promise<void> | undefined;
  /** What the program is told instead, for a defect that takes one answer for another. */
  retold?(sql: string, result: Answer): Answer;
  /** `status`: of the transaction, as PostgreSQL says it: I, T or E. */
  answered?(sql: string, status: string | null, asked: Asked): Promise<void> | undefined;
}

interface Answer {
  readonly rowCount: number | null;
}

export interface Asked {
  readonly values: readonly unknown[];
  /** Rows that it wrote or read. */
  readonly changes: number;
}

type Query = (...args: unknown[]) => unknown;

export function watchQueries(client: pg.ClientBase, watch: QueryWatch): void {
  const query = client.query.bind(client) as unknown as Query;
  const watched: Query = (first, ...rest) => {
    const sql = typeof first === 'string' ? first : (first as { text?: unknown } | null)?.text;
    const submits = typeof (first as { submit?: unknown } | null)?.submit === 'function';
    if (typeof sql !== 'string' || submits || !watch.cares.test(sql)) return query(first, ...rest);
    const given = typeof first === 'string' ? rest[0] : (first as { values?: unknown }).values;
    const values = Array.isArray(given) ? (given as unknown[]) : [];
    const at = rest.findIndex((argument) => typeof argument === 'function');
    const callback = at < 0 ? undefined : (rest.splice(at, 1)[0] as (error: unknown, result?: unknown) => void);
    const work = (async () => {
      await watch.before?.(sql);
      const answer = query(first, ...rest) as Promise<unknown>;
      // It may be rejected while the harness holds us; whoever awaits `answer` below is told.
      answer.catch(() => undefined);
      await watch.sent?.(sql);
      const result = (await answer) as Answer;
      await watch.answered?.(sql, client.getTransactionStatus(), { values, changes: result.rowCount ?? 0 });
      return watch.retold?.(sql, result) ?? result;
    })();
    if (callback === undefined) return work;
    work.then(
      (result) => callback(null, result),
      (error: unknown) => callback(error),
    );
    return undefined;
  };
  client.query = watched as unknown as typeof client.query;
}
