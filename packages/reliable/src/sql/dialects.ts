import type { Dialect } from './dialect.ts';
import { mysql } from './mysql.ts';
import { postgres } from './postgres.ts';
import { sqlite } from './sqlite.ts';

/** The dialect of a name. */
export function dialectNamed(name: Dialect['name']): Dialect {
  return { sqlite, postgres, mysql }[name];
}
