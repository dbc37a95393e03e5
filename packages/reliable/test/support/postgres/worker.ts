/**
 * The thread that holds the connections of {@link Bridge}. One message is one statement on one connection; statements of a connection
 * run in the order in which they came.
 */
import { Client, types } from 'pg';
import { workerData, type MessagePort } from 'node:worker_threads';

export interface Ask {
  readonly id: number;
  readonly connection: number;
  /** `open`: `sql` is the address. */
  readonly what: 'open' | 'run' | 'close';
  readonly sql: string;
  readonly parameters: readonly unknown[];
  /** What the database shall take for the time, ms since 1970; absent: its own clock. */
  readonly nowMs: number | undefined;
  /** Whether 64-bit integers come as numbers; else as the driver gives them, as text. */
  readonly numbers: boolean;
  /** Set and notified when the answer has been posted, for those who block. */
  readonly signal: Int32Array | undefined;
}

export interface Told {
  readonly id: number;
  readonly rows: Record<string, unknown>[];
  readonly changes: number;
  /** I: idle, T: in a transaction, E: in a transaction that has failed. */
  readonly status: string;
  readonly error: { readonly message: string; readonly code: string | undefined } | undefined;
}

interface Held {
  readonly client: Client;
  status: string;
  nowMs: number | undefined;
  last: Promise<unknown>;
}

const INT8 = 20;
const { blocking, free } = workerData as { blocking: MessagePort; free: MessagePort };
const connections = new Map<number, Held>();
blocking.on('message', (ask: Ask) => void answer(ask, blocking));
free.on('message', (ask: Ask) => void answer(ask, free));

async function answer(ask: Ask, port: MessagePort): Promise<void> {
  const before = connections.get(ask.connection)?.last;
  const told = (before ?? Promise.resolve()).then(() => done(ask));
  const held = connections.get(ask.connection);
  if (held !== undefined) held.last = told;
  port.postMessage(await told);
  if (ask.signal === undefined) return;
  Atomics.store(ask.signal, 0, 1);
  Atomics.notify(ask.signal, 0);
}

async function done(ask: Ask): Promise<Told> {
  let rows: Record<string, unknown>[] = [];
  let changes = 0;
  let error: Told['error'];
  try {
    if (ask.what === 'open') await open(ask.connection, ask.sql);
    else if (ask.what === 'close') await close(ask.connection);
    else ({ rows, changes } = await run(ask, held(ask.connection)));
  } catch (thrown) {
    const { message, code } = thrown as { message: string; code?: string };
    error = { message, code };
  }
  return { id: ask.id, rows, changes, status: connections.get(ask.connection)?.status ?? 'I', error };
}

async function open(connection: number, url: string): Promise<void> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  const made: Held = { client, status: 'I', nowMs: undefined, last: Promise.resolve() };
  (client as unknown as { connection: NodeJS.EventEmitter }).connection.on('readyForQuery', (message: { status: string }) => {
    made.status = message.status;
  });
  await client.connect();
  connections.set(connection, made);
}

async function close(connection: number): Promise<void> {
  await connections.get(connection)?.client.end();
  connections.delete(connection);
}

async function run(
  { sql, parameters, nowMs, numbers }: Ask,
  on: Held,
): Promise<{ rows: Record<string, unknown>[]; changes: number }> {
  if (nowMs !== on.nowMs && on.status !== 'E') {
    await on.client.query('select set_config($1, $2, false)', ['test.now_ms', String(nowMs ?? '')]);
    on.nowMs = nowMs;
  }
  const getTypeParser = ((type: number, format: 'text') =>
    numbers && type === INT8 ? Number : types.getTypeParser(type, format)) as typeof types.getTypeParser;
  const result = await on.client.query<Record<string, unknown>>({
    text: sql,
    ...(parameters.length === 0 ? {} : { values: [...parameters] }),
    types: { getTypeParser },
  });
  const last = Array.isArray(result) ? (result as (typeof result)[]).at(-1)! : result;
  return { rows: last.rows, changes: last.rowCount ?? 0 };
}

function held(connection: number): Held {
  const found = connections.get(connection);
  if (found === undefined) throw new Error('the connection is closed');
  return found;
}
