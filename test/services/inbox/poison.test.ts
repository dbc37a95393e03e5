/**
 * A message whose handler kills its process, in real processes. The test is the broker: what was not acknowledged when the process died
 * comes again, marked as redelivered, to the next process. A consumer without quarantine dies for ever; ours stops after `deathsMax`.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { bank, eventually, ROWS, type Bank } from './bank.ts';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));
const SOURCES = fileURLToPath(new URL('../../../packages/cli/bin/sources.js', import.meta.url));
/** Whoever has died that often will do it for ever. */
const PATIENCE = 8;

/** What a process says. */
interface Told {
  readonly ready?: true;
  readonly id?: string;
  readonly receipt?: string;
  readonly alarm?: string;
  readonly stopped?: true;
}

interface Outcome {
  /** Processes that were killed by their handler. */
  readonly deaths: number;
  readonly alarms: string[];
}

/** Runs one process after the other until all messages are acknowledged and nothing dies any more. */
async function consume(here: Bank, ids: readonly string[], deathsMax: number): Promise<Outcome> {
  const unacknowledged = new Map(ids.map((id) => [id, false]));
  const alarms: string[] = [];
  for (let deaths = 0; deaths < PATIENCE; deaths++) {
    const child = fork(CHILD, [here.url, String(deathsMax)], { execArgv: ['--import', SOURCES] });
    onTestFinished(() => void child.kill('SIGKILL'));
    let died = false;
    let stopped = false;
    let broken = false;
    child.on('exit', (_code, signal) => {
      died = true;
      broken = signal !== 'SIGKILL';
    });
    child.on('message', (told: Told) => {
      if (told.ready) for (const [id, redelivered] of unacknowledged) child.send({ id, redelivered });
      if (told.receipt === 'done') unacknowledged.delete(told.id!);
      if (told.stopped) stopped = true;
      if (told.alarm !== undefined) alarms.push(`${told.alarm} ${told.id}`);
    });
    const open = `select count(*) from tallystick_inbox where state in ('waiting', 'delayed', 'retrying')`;
    await eventually(async () => died || (unacknowledged.size === 0 && (await here.rows(open))[0] === '0'), Boolean);
    if (!died) {
      child.send('stop');
      await eventually(async () => stopped, Boolean);
      child.disconnect();
      return { deaths, alarms };
    }
    if (broken) throw new Error('the process ended by itself');
    for (const id of unacknowledged.keys()) unacknowledged.set(id, true);
  }
  return { deaths: PATIENCE, alarms };
}

test('is quarantined alone after deathsMax, told of, and its neighbours have their effect once', async () => {
  const here = await bank();
  const { deaths, alarms } = await consume(here, ['A', 'B', 'P', 'C', 'D'], 3);
  // The first delivery leaves no trace; every later attempt is written down before it begins.
  expect(deaths).toBe(4);
  expect(alarms).toEqual(['poison P']);
  expect(await here.rows('select name from effect order by name')).toEqual(['A', 'B', 'C', 'D']);
  const rows = await here.rows(ROWS);
  expect(rows.filter((row) => !row.includes(' done '))).toEqual(['P dead 3/3/3 poison']);
});

test('without quarantine it kills one process after the other', async () => {
  const here = await bank();
  expect((await consume(here, ['A', 'P'], 1000)).deaths).toBe(PATIENCE);
});
