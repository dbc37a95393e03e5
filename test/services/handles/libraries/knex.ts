import knexOf, { type Knex } from 'knex';
import type { LibraryUnderTest } from './library.ts';

export const knex: LibraryUnderTest = {
  name: 'Knex',
  async open(url) {
    const db = knexOf({ client: 'pg', connection: url, pool: { min: 0, max: 4 } });
    return {
      root: db,
      begin: (work) => db.transaction((trx) => work(trx)),
      nested: (tx, work) => (tx as unknown as Knex.Transaction).transaction((inner) => work(inner)),
      run: async (tx, text) => (tx as unknown as Knex).raw(text),
      close: () => db.destroy(),
    };
  },
};
