import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PgHandle } from '../../../src/sql/handles/pg.ts';
import type { PgNative } from '../../../src/sql/handles/pg-client.ts';

class Connection extends EventEmitter {
  query(): void {}
  parse(): void {}
  sync(): void {}
}

/** A client that remembers what it was asked: a name, or a text that went without one. */
function clientOf(processID: number, answers = 7) {
  const asked: string[] = [];
  const connection = new Connection();
  const client = {
    asked,
    connection,
    processID,
    query(given: string | { name: string }) {
      asked.push(typeof given === 'string' ? given : given.name.replace(/_[0-9a-f]{16}$/, '_…'));
      return Promise.resolve({ rows: given === 'select pg_backend_pid() as pid' ? [{ pid: answers }] : [], rowCount: 0 });
    },
  };
  return { client, asked, connection, handle: new PgHandle(client as unknown as PgNative) };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

test('a statement that looks for something is planned anew once a second; one that inserts keeps its plan', async () => {
  const { handle, asked } = clientOf(7);
  for (const often of ['read', 'read', 'read', 'insert'] as const) await handle.execute(often, [], often);
  vi.advanceTimersByTime(999);
  await handle.execute('read', [], 'read');
  vi.advanceTimersByTime(1);
  for (const often of ['insert', 'read', 'read'] as const) await handle.execute(often, [], often);
  expect(asked).toEqual([
    'read',
    'select pg_backend_pid() as pid',
    'discard plans',
    ...Array.from({ length: 5 }, () => 'tallystick_0_…'),
    'discard plans',
    ...Array.from({ length: 2 }, () => 'tallystick_0_…'),
  ]);
});

test('behind somebody who answers for another process nothing is kept', async () => {
  const { handle, asked } = clientOf(7, 8);
  for (let n = 0; n < 3; n++) await handle.execute('read', [], 'read');
  expect(asked).toEqual(['read', 'select pg_backend_pid() as pid', 'read', 'read']);
});

test('what is not said often has no name', async () => {
  const { handle, asked } = clientOf(7);
  for (let n = 0; n < 3; n++) await handle.execute('once', []);
  expect(asked).toEqual(['once', 'once', 'once']);
});
