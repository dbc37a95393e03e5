import { Pool, type PoolClient } from 'pg';
import type { LibraryUnderTest } from './library.ts';

export const pg: LibraryUnderTest = {
  name: 'pg',
  async open(url) {
    const pool = poolOf(url);
    return {
      root: pool,
      async begin(work) {
        const client = await pool.connect();
        let broken = true;
        try {
          await client.query('begin');
          const value = await work(client).catch(async (error: unknown) => {
            await client.query('rollback');
            broken = false;
            throw error;
          });
          await client.query('commit');
          broken = false;
          return value;
        } finally {
          client.release(broken);
        }
      },
      async nested(tx, work) {
        const client = tx as PoolClient;
        await client.query('savepoint nested');
        try {
          const value = await work(client);
          await client.query('release nested');
          return value;
        } catch (error) {
          await client.query('rollback to nested');
          throw error;
        }
      },
      run: (tx, text) => (tx as PoolClient).query(text),
      close: () => pool.end(),
    };
  },
};

/** A pool that outlives the connections that a test cuts. */
export function poolOf(url: string): Pool {
  const pool = new Pool({ connectionString: url, max: 4 });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}
