import { sql } from 'drizzle-orm';
import { drizzle as onPg, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { drizzle as onPostgresJs } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import type { LibraryUnderTest } from './library.ts';
import { poolOf } from './pg.ts';

export const drizzleOnPg: LibraryUnderTest = {
  name: 'Drizzle on node-postgres',
  async open(url) {
    const pool = poolOf(url);
    const db = onPg(pool);
    return {
      root: db,
      begin: (work) => db.transaction((tx) => work(tx)),
      nested: (tx, work) => (tx as unknown as NodePgDatabase).transaction((inner) => work(inner)),
      run: async (tx, text) => (tx as unknown as NodePgDatabase).execute(sql.raw(text)),
      close: () => pool.end(),
    };
  },
};

export const drizzleOnPostgresJs: LibraryUnderTest = {
  name: 'Drizzle on postgres.js',
  async open(url) {
    const client = postgres(url, { max: 4, onnotice: () => undefined });
    const db = onPostgresJs(client);
    return {
      root: db,
      begin: (work) => db.transaction((tx) => work(tx)),
      nested: (tx, work) => (tx as unknown as typeof db).transaction((inner) => work(inner)),
      run: async (tx, text) => (tx as unknown as typeof db).execute(sql.raw(text)),
      close: () => client.end({ timeout: 1 }),
    };
  },
};
