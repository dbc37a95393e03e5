/** The libraries' own types fit: handles and roots go in without a cast, and come out of transaction() as the library's own. */
import type { MikroORM } from '@mikro-orm/core';
import type { EntityManager as MikroormManager } from '@mikro-orm/postgresql';
import type { NodePgDatabase, NodePgTransaction } from 'drizzle-orm/node-postgres';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import type { Knex } from 'knex';
import type { Kysely, Transaction } from 'kysely';
import type { Client, Pool, PoolClient } from 'pg';
import type { ReservedSql, Sql, TransactionSql } from 'postgres';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { expectTypeOf, test } from 'vitest';
import type { Answer, Database, Handle, SyncHandle, TransactionOf } from '@tallystick/reliable';

interface Tables {
  effect: { id: string };
}

/** As Prisma generates it. */
interface PrismaClient {
  $queryRawUnsafe<T = unknown>(query: string, ...values: unknown[]): Promise<T>;
  $executeRawUnsafe(query: string, ...values: unknown[]): Promise<number>;
  $transaction<P extends Promise<unknown>[]>(queries: [...P], options?: { maxWait?: number }): Promise<unknown[]>;
  $transaction<R>(work: (tx: Omit<PrismaClient, '$connect'>) => Promise<R>, options?: { maxWait?: number }): Promise<R>;
}

test('handles', () => {
  expectTypeOf<PoolClient>().toExtend<Handle>();
  expectTypeOf<Client>().toExtend<Handle>();
  expectTypeOf<TransactionSql>().toExtend<Handle>();
  expectTypeOf<ReservedSql>().toExtend<Handle>();
  expectTypeOf<Transaction<Tables>>().toExtend<Handle>();
  expectTypeOf<NodePgTransaction<Record<string, never>, Record<string, never>>>().toExtend<Handle>();
  expectTypeOf<Knex.Transaction>().toExtend<Handle>();
  expectTypeOf<EntityManager>().toExtend<Handle>();
  expectTypeOf<QueryRunner>().toExtend<Handle>();
  expectTypeOf<MikroormManager>().toExtend<Handle>();
  expectTypeOf<Omit<PrismaClient, '$transaction'>>().toExtend<Handle>();
});

test('roots', () => {
  expectTypeOf<Pool>().toExtend<Database>();
  expectTypeOf<Sql>().toExtend<Database>();
  expectTypeOf<Kysely<Tables>>().toExtend<Database>();
  expectTypeOf<NodePgDatabase & { $client: Pool }>().toExtend<Database>();
  expectTypeOf<Knex>().toExtend<Database>();
  expectTypeOf<DataSource>().toExtend<Database>();
  expectTypeOf<MikroORM>().toExtend<Database>();
  expectTypeOf<PrismaClient>().toExtend<Database>();
});

test('what transaction() gives to its function', () => {
  expectTypeOf<TransactionOf<Pool>>().toEqualTypeOf<PoolClient>();
  expectTypeOf<TransactionOf<Sql>>().toExtend<TransactionSql>();
  expectTypeOf<TransactionOf<Kysely<Tables>>>().toEqualTypeOf<Transaction<Tables>>();
  expectTypeOf<Parameters<Parameters<NodePgDatabase['transaction']>[0]>[0]>().toEqualTypeOf<TransactionOf<NodePgDatabase>>();
  expectTypeOf<Parameters<Parameters<PostgresJsDatabase['transaction']>[0]>[0]>().toEqualTypeOf<
    TransactionOf<PostgresJsDatabase>
  >();
  expectTypeOf<TransactionOf<Knex>>().toExtend<Knex.Transaction>();
  expectTypeOf<TransactionOf<DataSource>>().toEqualTypeOf<EntityManager>();
  expectTypeOf<TransactionOf<PrismaClient>>().toEqualTypeOf<Omit<PrismaClient, '$connect'>>();
});

test('answers', () => {
  expectTypeOf<Answer<PoolClient, number>>().toEqualTypeOf<Promise<number>>();
  expectTypeOf<Answer<SyncHandle, number>>().toEqualTypeOf<number>();
});
