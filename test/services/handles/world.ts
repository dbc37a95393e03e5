/** A database of one's own with business tables in it, opened with a library. */
import { Client } from 'pg';
import { createOutbox, HANDLE_CAPABILITIES, type HandleCapabilities, type Outbox, type Root } from '@tallystick/reliable';
import { freshDatabase } from '../support/services.ts';
import type { LibraryUnderTest, Opened } from './libraries/library.ts';

export interface World extends Opened {
  readonly url: string;
  readonly outbox: Outbox<Root>;
  /** How often the outbox has asked for the relay. */
  readonly woken: () => number;
  /** One text per row, on a connection of the test's own. */
  rows(query: string): Promise<string[]>;
}

/** The library's own world, emptied. Making one takes a second, so a library has two: its own and another one. */
export async function worldOf(
  library: LibraryUnderTest,
  which: 'own' | 'other' = 'own',
  through: (url: string) => Promise<string> = async (url) => url,
): Promise<World> {
  const key = `${library.name} ${which}`;
  let making = made.get(key);
  if (making === undefined) made.set(key, (making = make(library, through)));
  const { opened, own, url } = await making;
  await own.query('truncate effect, checked, tallystick_outbox, tallystick_outbox_body, tallystick_inbox, tallystick_inbox_body');
  let woken = 0;
  const outbox = createOutbox(opened.root, { wake: () => void woken++ });
  return {
    ...opened,
    url,
    outbox,
    woken: () => woken,
    rows: async (query) => {
      const { rows } = await own.query<{ value: string }>(`select value::text from (${query}) as asked (value)`);
      return rows.map(({ value }) => value);
    },
  };
}

interface Made {
  readonly opened: Opened;
  readonly own: Client;
  readonly url: string;
  close(): Promise<void>;
}

const made = new Map<string, Promise<Made>>();

async function make(library: LibraryUnderTest, through: (url: string) => Promise<string>): Promise<Made> {
  const database = await freshDatabase();
  const own = new Client({ connectionString: database.url });
  await own.connect();
  await own.query('create table effect (id text primary key)');
  await own.query('create table checked (id text primary key references effect (id) deferrable initially deferred)');
  const opened = await library.open(await through(database.url));
  return {
    opened,
    own,
    url: database.url,
    async close() {
      await opened.close();
      await own.end();
      await database.drop();
    },
  };
}

/** Closes all worlds of a library. */
export async function leave(library: LibraryUnderTest): Promise<void> {
  for (const which of ['own', 'other']) {
    const key = `${library.name} ${which}`;
    await (await made.get(key))?.close();
    made.delete(key);
  }
}

export function capabilitiesOf(library: LibraryUnderTest): HandleCapabilities {
  const found = HANDLE_CAPABILITIES.find((one) => one.library === library.name);
  if (found === undefined) throw new Error(`${library.name} is not in the capability table`);
  return found;
}

export const IDS = 'select id from tallystick_outbox order by sequence';
export const EFFECTS = 'select id from effect order by id';

/** Waits until `holds`, at most a minute. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !(await holds());) {
    if (Date.now() > end) throw new Error(`not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
