import { CamelCasePlugin, Kysely, PostgresDialect, sql, type ControlledTransaction, type Transaction } from 'kysely';
import type { LibraryUnderTest } from './library.ts';
import { poolOf } from './pg.ts';

/** With a plugin that renames columns, as many have. */
export const kysely: LibraryUnderTest = {
  name: 'Kysely',
  async open(url) {
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool: poolOf(url) }), plugins: [new CamelCasePlugin()] });
    return {
      root: db,
      begin: (work) => db.transaction().execute((trx) => work(trx)),
      async nested(tx, work) {
        // Kysely has savepoints on its controlled transactions only; on the others they are statements.
        const trx = tx as Transaction<object>;
        await sql`savepoint nested`.execute(trx);
        try {
          const value = await work(trx);
          await sql`release nested`.execute(trx);
          return value;
        } catch (error) {
          await sql`rollback to nested`.execute(trx);
          throw error;
        }
      },
      run: (tx, text) => sql.raw(text).execute(tx as Transaction<object>),
      close: () => db.destroy(),
    };
  },
};

export type Controlled = ControlledTransaction<object>;
