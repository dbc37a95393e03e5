import postgres, { type Sql, type TransactionSql } from 'postgres';
import type { LibraryUnderTest } from './library.ts';

export const postgresJs: LibraryUnderTest = {
  name: 'postgres.js',
  async open(url) {
    const sql = postgres(url, { max: 4, onnotice: () => undefined });
    return {
      root: sql,
      begin: async (work) => (await sql.begin((tx) => work(tx))) as never,
      nested: async (tx, work) => (await (tx as TransactionSql).savepoint((inner) => work(inner))) as never,
      run: (tx, text) => (tx as Sql).unsafe(text),
      close: () => sql.end({ timeout: 1 }),
    };
  },
};
