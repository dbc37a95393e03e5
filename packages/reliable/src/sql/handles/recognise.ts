/** Which library a value belongs to, by its structure alone. */
import { isAsyncHandle, type AsyncHandle } from '../handles.ts';
import type { Library, LibraryRoot } from './library.ts';
import { drizzle } from './drizzle.ts';
import { knex } from './knex.ts';
import { kysely } from './kysely.ts';
import { mikroorm } from './mikroorm.ts';
import { pg } from './pg.ts';
import { postgresJs } from './postgres-js.ts';
import { prisma } from './prisma.ts';
import { typeorm } from './typeorm.ts';

/** In the order of asking: a shape that contains another stands before it. */
export const LIBRARIES: readonly Library[] = [pg, postgresJs, kysely, drizzle, knex, mikroorm, typeorm, prisma];

/** `given` as the small asynchronous interface; undefined when no library knows it. Always the same one for the same value. */
export function recogniseHandle(given: unknown): AsyncHandle | undefined {
  if (isAsyncHandle(given)) return given;
  return recognise(handles, given, (library, shape) => library.handle(shape));
}

/** `given` as something transactions are begun from; undefined when it is a single connection, or not known. */
export function recogniseRoot(given: unknown): LibraryRoot | undefined {
  return recognise(roots, given, (library, shape) => library.root(shape));
}

const handles = new WeakMap<object, AsyncHandle>();
const roots = new WeakMap<object, LibraryRoot>();

function recognise<T extends object>(
  known: WeakMap<object, T>,
  given: unknown,
  ask: (library: Library, shape: object) => T | undefined,
): T | undefined {
  if ((typeof given !== 'object' && typeof given !== 'function') || given === null) return undefined;
  let found = known.get(given);
  for (let i = 0; found === undefined && i < LIBRARIES.length; i++) found = ask(LIBRARIES[i]!, given);
  if (found !== undefined) known.set(given, found);
  return found;
}
