import { EntitySchema, MikroORM } from '@mikro-orm/core';
import { PostgreSqlDriver, type SqlEntityManager } from '@mikro-orm/postgresql';
import type { LibraryUnderTest } from './library.ts';

const Effect = new EntitySchema<{ id: string }>({
  name: 'Effect',
  tableName: 'effect',
  properties: { id: { type: 'string', primary: true } },
});

export const mikroorm: LibraryUnderTest = {
  name: 'MikroORM',
  async open(url) {
    const orm = await MikroORM.init({
      driver: PostgreSqlDriver,
      clientUrl: url,
      entities: [Effect],
      pool: { min: 0, max: 4 },
      discovery: { warnWhenNoEntities: false },
      debug: false,
    });
    return {
      root: orm,
      begin: (work) => orm.em.fork().transactional((em) => work(em)),
      nested: (tx, work) => (tx as unknown as SqlEntityManager).transactional((em) => work(em)),
      run: (tx, text) => (tx as unknown as SqlEntityManager).execute(text),
      close: () => orm.close(true),
    };
  },
};
