import { drizzleOnPg, drizzleOnPostgresJs } from './drizzle.ts';
import { knex } from './knex.ts';
import { kysely } from './kysely.ts';
import type { LibraryUnderTest } from './library.ts';
import { mikroorm } from './mikroorm.ts';
import { pg } from './pg.ts';
import { postgresJs } from './postgres-js.ts';
import { prisma } from './prisma.ts';
import { typeorm } from './typeorm.ts';

export const LIBRARIES: readonly LibraryUnderTest[] = [
  pg,
  postgresJs,
  kysely,
  drizzleOnPg,
  drizzleOnPostgresJs,
  knex,
  typeorm,
  mikroorm,
  prisma,
];
