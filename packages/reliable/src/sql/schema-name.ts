import { fail } from '../errors.ts';
import type { Dialect } from './dialect.ts';

/** Names that come from outside and become part of SQL text: few characters, short enough for the database to keep them whole. */
const NAME = /^[a-z_][a-z0-9_]{0,62}$/;

/**
 * The dialect with every table in a schema of its own. Throws BAD_NAME: a name that would have to be escaped, cut or folded to lower case
 * is refused, and so are PostgreSQL's own. It is quoted all the same.
 */
export function schemaNamed(dialect: Dialect, schema: string): Dialect {
  if (dialect.name !== 'postgres') throw fail('BAD_NAME', `${dialect.name} has no schemas; leave the option out`);
  if (typeof schema !== 'string' || !NAME.test(schema) || schema.startsWith('pg_') || schema === 'information_schema')
    throw fail('BAD_NAME', `the schema is ${JSON.stringify(schema)}, wanted lower-case letters, digits and _, at most 63`);
  return {
    ...dialect,
    build: dialect.build.withSchema(schema),
    hasSchemaTable: hasTable(`"${schema}"."tallystick_schema"`),
    tableName: (name) => `"${schema}"."${name}"`,
  };
}

/**
 * PostgreSQL: one row when the table is there. Reading from `pg_class` takes a lock, and only with a lock does a session hear of what others
 * have made since its transaction began: `to_regclass` alone answers from memory.
 */
export function hasTable(name: string): string {
  return `select 1 as there from pg_class where oid = to_regclass('${name}')`;
}
