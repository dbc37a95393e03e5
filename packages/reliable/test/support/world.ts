import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { onTestFinished } from 'vitest';
import {
  createMonitor,
  createOutbox,
  createRelay,
  migrate,
  transaction,
  type Alarm,
  type Handle,
  type NewMessage,
  type Relay,
  type RelaySettings,
} from '../../src/index.ts';
import { connect, databasePath, setTime, statementsInFlight, type Backend, type Connection } from './backends.ts';
import { MemoryTransport } from './memory-transport.ts';

/** An application's database, its outbox, and a broker in memory, in time that stands still until it is told. */
export interface World {
  readonly path: string;
  readonly app: Connection;
  readonly time: ManualTime;
  readonly broker: MemoryTransport;
  readonly alarms: Alarm[];
  /** Adds messages in one transaction that commits; returns their ids. */
  add(...messages: Partial<NewMessage>[]): Promise<string[]>;
  /** A relay on a connection of its own; stopped when the test ends. */
  relay(settings?: Partial<RelaySettings>): Relay;
  /** Rows of the outbox, as `state` or `state attempts tries`, in order. */
  states(): string[];
}

export async function world(backend: Backend, given: { readonly time?: ManualTime } = {}): Promise<World> {
  const path = databasePath();
  const time = given.time ?? new ManualTime();
  const app = connect(backend, path);
  if (backend.can.dialect === 'sqlite') app.raw.exec('pragma journal_mode=wal');
  setTime(path, time);
  await migrate(app.handle, { nowMs: time.now() });
  const outbox = createOutbox(app.handle, { clock: time, random: seededRandom(1), turn: time, timers: time });
  const broker = new MemoryTransport();
  const alarms: Alarm[] = [];
  let made = 0;
  return {
    path,
    app,
    time,
    broker,
    alarms,
    add: (...messages) =>
      transaction(app.handle, (tx: Handle) =>
        collect(messages.map((message) => () => outbox.in(tx).add({ topic: 't', body: 'b', ...message }))),
      ) as Promise<string[]>,
    relay(settings = {}) {
      const { handle } = connect(backend, path);
      const seed = 100 + made++;
      const relay = createRelay({
        db: handle,
        transport: broker,
        clock: time,
        timers: time,
        turn: time,
        random: seededRandom(seed),
        onAlarm: (alarm) => alarms.push(alarm),
        ...settings,
      });
      onTestFinished(async () => {
        let stopped = false;
        void relay.stop().then(() => (stopped = true));
        while (!stopped) await pass(time, 60_000, 60_000);
      });
      return relay;
    },
    states: () =>
      (app.raw.prepare('select state from tallystick_outbox order by sequence').all([]) as { state: string }[]).map(
        ({ state }) => state,
      ),
  };
}

/** All values; a plain list when every one is plain. */
function collect(makers: (() => string | Promise<string>)[]): string[] | Promise<string[]> {
  const values = makers.map((make) => make());
  return isTexts(values) ? values : Promise.all(values.map((value) => Promise.resolve(value)));
}

function isTexts(values: readonly unknown[]): values is string[] {
  return values.every((value) => typeof value === 'string');
}

/** Lets promises and turns run until nothing moves by itself; time stands still. */
export async function settle(time: ManualTime, rounds = 20): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    time.settle();
    await new Promise<void>((resolve) => setImmediate(resolve));
    await answers();
  }
}

/** Where statements travel: until none is under way, or one waits for a lock and will for longer. */
async function answers(): Promise<void> {
  const began = performance.now();
  while (statementsInFlight() > 0 && performance.now() - began < LOCKED_AFTER_MS)
    await new Promise<void>((resolve) => setImmediate(resolve));
}

const LOCKED_AFTER_MS = 100;

/** Moves time in steps, letting promises run after each. */
export async function pass(time: ManualTime, ms: number, stepMs = 50): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    time.advance(Math.min(stepMs, left));
    await settle(time, 6);
  }
}

export { createMonitor };
