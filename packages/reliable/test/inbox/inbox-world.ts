import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { onTestFinished } from 'vitest';
import {
  createInbox,
  createOutbox,
  migrate,
  type Delivery,
  type Handle,
  type Inbox,
  type InboxAlarm,
  type InboxSettings,
} from '../../src/index.ts';
import { connect, databasePath, rowsOf, setTime, type Backend, type Connection } from '../support/backends.ts';
import { pass, settle } from '../support/world.ts';

/** A consumer's database and inbox, in time that stands still until it is told. */
export interface InboxWorld extends Connection {
  readonly path: string;
  readonly time: ManualTime;
  readonly inbox: Inbox<Handle>;
  readonly alarms: InboxAlarm[];
  /** Another process: a connection and an inbox of its own; stopped when the test ends. */
  another(settings?: InboxSettings): { readonly inbox: Inbox<Handle>; readonly connection: Connection };
  /** Adds one to the effects, in whatever transaction is open on the connection. */
  effect(name: string, on?: Connection): void;
  effects(): string[];
  /** The inbox's rows in order, as `state attempts/tries/started outcome`. */
  rows(): string[];
  /** Receives, letting time pass until there is a receipt. */
  receive(delivery: Partial<Delivery>, inbox?: Inbox<Handle>): Promise<string>;
  /** Lets the present work end while time goes on in small steps. */
  during<T>(work: Promise<T>): Promise<T>;
}

export async function inboxWorld(backend: Backend, settings: InboxSettings = {}): Promise<InboxWorld> {
  const path = databasePath();
  const time = new ManualTime();
  const connection = connect(backend, path);
  connection.raw.exec('pragma journal_mode=wal');
  await migrate(connection.handle, { nowMs: time.now() });
  connection.raw.exec('create table effect (name text)');
  setTime(path, time);
  const alarms: InboxAlarm[] = [];
  let made = 0;
  const make = (on: Connection, given: InboxSettings): Inbox<Handle> => {
    const outbox = createOutbox(on.handle, { clock: time, random: seededRandom(made), turn: time, timers: time });
    const inbox = createInbox(on.handle, {
      clock: time,
      timers: time,
      turn: time,
      random: seededRandom(100 + made++),
      consumer: 'wallet',
      outbox,
      onAlarm: (alarm) => alarms.push(alarm),
      ...given,
    });
    onTestFinished(async () => {
      await during(inbox.stop());
    });
    return inbox;
  };
  const during = async <T>(work: Promise<T>): Promise<T> => {
    let ended = false;
    const quiet = work.then(
      () => (ended = true),
      () => (ended = true),
    );
    for (let round = 0; !ended; round++) {
      await settle(time, 2);
      if (round > 5 && !ended) time.advance(50);
      if (round > 20_000) throw new Error('still not ended after much time');
    }
    await quiet;
    return work;
  };
  const inbox = make(connection, settings);
  return {
    ...connection,
    path,
    time,
    inbox,
    alarms,
    another(given = {}) {
      const other = connect(backend, path);
      return { connection: other, inbox: make(other, { ...settings, ...given }) };
    },
    effect: (name, on = connection) => void on.raw.prepare('insert into effect values (?)').run([name]),
    effects: () => rowsOf(connection.raw, 'select name from effect order by rowid').map(({ name }) => String(name)),
    rows: () => rowsOf(connection.raw, ROWS).map(({ row }) => String(row)),
    receive: (given, by = inbox) => during(by.receive(delivery(given))),
    during,
  };
}

/** A row in a line. */
const ROWS = `select state || ' ' || attempts || '/' || tries || '/' || started || ' ' || coalesce(last_outcome, '-') as row
  from tallystick_inbox order by sequence`;

export function delivery(given: Partial<Delivery>): Delivery {
  return {
    id: 'M1',
    topic: 'payments',
    type: 'debit',
    headers: new Map(),
    body: Buffer.from('{}'),
    redelivered: false,
    ...given,
  };
}

export { pass, rowsOf, settle };
