/**
 * A connection that a library lends only inside a function of its own (Kysely's `connection().execute`): the function is kept waiting
 * until the connection is given back. Nobody else runs anything on it, so the statements themselves say whether a transaction is open.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AsyncHandle } from '../handles.ts';
import type { SqlValue } from '../statement.ts';
import type { Borrowed } from './library.ts';
import { Turns } from './turns.ts';

export class LentHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #run: AsyncHandle['execute'];
  readonly #turns = new Turns();
  #open = false;

  constructor(run: AsyncHandle['execute']) {
    this.#run = run;
  }

  async execute(sql: string, parameters: readonly SqlValue[]): ReturnType<AsyncHandle['execute']> {
    const result = await this.#turns.run(() => this.#run(sql, parameters));
    if (BEGINS.test(sql)) this.#open = true;
    else if (ENDS.test(sql)) this.#open = false;
    return result;
  }

  inTransaction(): boolean {
    return this.#open;
  }
}

export const BEGINS = /^\s*(begin|start\s+transaction)\b/i;
export const ENDS = /^\s*(commit|end|abort|rollback(?!\s+((work|transaction)\s+)?to\b))\b/i;

/** Borrows through `lend`, which gives its function a connection for as long as that function runs. */
export function borrowInside(lend: (use: (run: AsyncHandle['execute']) => Promise<void>) => Promise<unknown>): Promise<Borrowed> {
  return new Promise((resolve, reject) => {
    const lending = lend(
      (run) =>
        new Promise<void>((done) => {
          const handle = new LentHandle(run);
          resolve({
            handle,
            async giveBack(broken) {
              // A broken connection is often only about to close: one more question, and the library's pool knows it too.
              if (broken || handle.inTransaction()) await settled(handle.execute('rollback', []));
              done();
              await lending.catch(() => undefined);
            },
          });
        }),
    );
    lending.catch(reject);
  });
}

/** Waits for an answer, whatever it is; a connection that does not answer at all is left to the driver's own limits. */
export async function settled(asking: Promise<unknown>): Promise<void> {
  const answered = asking.then(
    () => undefined,
    () => undefined,
  );
  await Promise.race([answered, sleep(ANSWER_MS, undefined, { ref: false })]);
}

const ANSWER_MS = 1_000;
