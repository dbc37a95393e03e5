import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { alarmLine } from '../src/alarm-line.ts';
import { createRelay, memoryBroker, type Alarm, type InboxAlarm } from '../src/index.ts';
import { openRaw, databasePath } from './support/backends.ts';

const ROW = { id: 'A'.repeat(32), topic: 'orders', key: undefined, type: undefined, attempts: 2, tries: 3, reason: 'too large' };

describe('an alarm as a line', () => {
  const lines: readonly [Alarm | InboxAlarm, string][] = [
    [{ kind: 'dead', row: { ...ROW, outcome: 'rejected' } }, `dead: orders ${ROW.id}, rejected after 3 tries: too large`],
    [
      { kind: 'unroutable', route: 'orders', row: { ...ROW, outcome: 'unroutable' } },
      `unroutable: orders ${ROW.id}, unroutable after 3 tries: too large`,
    ],
    [{ kind: 'outage', failures: 3, reason: 'refused' }, 'outage: the broker shows no sign of life: refused'],
    [{ kind: 'outage-over' }, 'outage-over'],
    [{ kind: 'fenced', firstShard: 16 }, 'fenced: another process has taken the shards from 16 on'],
    [{ kind: 'database', error: new Error('no such table') }, 'database: no such table'],
    [{ kind: 'database', error: 'gone' }, 'database: gone'],
    [{ kind: 'old', id: 'x', warning: '40 days' }, 'old: x: 40 days'],
    [{ kind: 'hanging', id: 'x', reason: '60 s' }, 'hanging: x: 60 s'],
  ];

  it.each(lines)('%j', (alarm, line) => {
    expect(alarmLine(alarm)).toBe(line);
  });
});

it('a relay without a transport is refused where it is made', () => {
  const transport = {} as ReturnType<typeof memoryBroker>;
  expect(() => createRelay({ db: openRaw(databasePath()), transport })).toThrow('createRelay: transport is not an object');
});

it('a relay that has nobody to tell writes to the standard error, and else does not', async () => {
  const written = vi.spyOn(console, 'warn').mockImplementation(() => {});
  onTestFinished(() => written.mockRestore());
  const told: Alarm[] = [];
  const silent = createRelay({ db: openRaw(databasePath()), transport: memoryBroker(), onAlarm: (alarm) => told.push(alarm) });
  await silent.drain();
  await silent.stop();
  expect(told.map(({ kind }) => kind)).toEqual(['database']);
  expect(written).not.toHaveBeenCalled();
  const loud = createRelay({ db: openRaw(databasePath()), transport: memoryBroker() });
  await loud.drain();
  await loud.stop();
  expect(written.mock.calls).toEqual([['tallystick relay: database: no such table: tallystick_lease']]);
});
