import { DataSource, type EntityManager } from 'typeorm';
import type { LibraryUnderTest } from './library.ts';

export const typeorm: LibraryUnderTest = {
  name: 'TypeORM',
  async open(url) {
    const source = new DataSource({ type: 'postgres', url, poolSize: 4, logging: false, poolErrorHandler: () => undefined });
    await source.initialize();
    return {
      root: source,
      begin: (work) => source.transaction((manager) => work(manager)),
      nested: (tx, work) => (tx as EntityManager).transaction((inner) => work(inner)),
      run: (tx, text) => (tx as EntityManager).query(text),
      close: () => source.destroy(),
    };
  },
};
