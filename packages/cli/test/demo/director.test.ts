import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Director, type ReachedStep, type Script } from '../../src/demo/director.ts';
import { FaultLog, readFaultLog } from '../../src/demo/fault-log.ts';
import type { FaultName, Step } from '../../src/demo/faults.ts';
import type { PlannedFault } from '../../src/demo/plan.ts';

let folder: string;
let log: FaultLog;
let left: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'director-'));
  log = new FaultLog(join(folder, 'log'));
  left = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const kill: PlannedFault = { name: 'bank-a-killed', at: 5, step: 'committed', path: undefined };
const cut: PlannedFault = { name: 'connection-cut', at: 6, step: 'sending', path: undefined };

function reached(step: Step, number: number, child = 'bank-a'): ReachedStep {
  return {
    child,
    id: number,
    step,
    number,
    serial: `S${number}`,
    place: undefined,
    leave: (leave) => left.push(`${number} ${leave}`),
  };
}

function directorOf(planned: PlannedFault[], scripts: [FaultName, Script][]): Director {
  return new Director(planned, new Map(scripts), (number) => (number % 2 === 1 ? 'half' : 'outbox'), 100, log);
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const events = () =>
  readFaultLog(join(folder, 'log')).map((seen) => ('number' in seen ? `${seen.what} ${seen.number}` : seen.what));

describe('the fault director', () => {
  it('fires at the planned transfer and lets all others pass', async () => {
    const director = directorOf([kill], [['bank-a-killed', () => Promise.resolve('seen')]]);
    director.reached(reached('committed', 4));
    director.reached(reached('sending', 5));
    director.reached(reached('committed', 6));
    expect(left).toEqual(['4 go', '5 go', '6 go']);
    director.reached(reached('committed', 5));
    await turn();
    expect(events()).toEqual(['fault-fired 5', 'fault-confirmed 5']);
    expect(director.idle).toBe(true);
  });

  it('counts nothing without evidence and tries again with a later transfer', async () => {
    const answers = [undefined, 'seen'];
    const director = directorOf([kill], [['bank-a-killed', () => Promise.resolve(answers.shift())]]);
    director.reached(reached('committed', 5));
    await turn();
    expect(director.outstanding()).toEqual(['bank-a-killed']);
    director.reached(reached('committed', 6));
    await turn();
    expect(events()).toEqual(['fault-fired 5', 'fault-missed 5', 'fault-fired 6', 'fault-confirmed 6']);
  });

  it('takes a later transfer when the planned one never reached its step', async () => {
    const director = directorOf([kill], [['bank-a-killed', () => Promise.resolve('seen')]]);
    director.reached(reached('committed', 30));
    await turn();
    expect(events()).toEqual(['fault-fired 30', 'fault-confirmed 30']);
  });

  it('runs one fault at a time and holds the next planned transfer at its step meanwhile', async () => {
    let end: (seen: string) => void = () => {};
    const director = directorOf(
      [kill, cut],
      [
        ['bank-a-killed', () => new Promise((resolve) => (end = resolve))],
        ['connection-cut', () => Promise.resolve('seen')],
      ],
    );
    director.reached(reached('committed', 5));
    director.reached(reached('sending', 6));
    director.reached(reached('sending', 7));
    expect(left).toEqual(['7 go']);
    end('seen');
    await turn();
    expect(left).toEqual(['7 go', '5 go', '6 go']);
    expect(events()).toEqual(['fault-fired 5', 'fault-confirmed 5', 'fault-fired 6', 'fault-confirmed 6']);
  });

  it('forgets what a dead child waited for', async () => {
    let end: (seen: string) => void = () => {};
    const director = directorOf([kill, cut], [['bank-a-killed', () => new Promise((resolve) => (end = resolve))]]);
    director.reached(reached('committed', 5));
    director.reached(reached('sending', 6, 'bank-a'));
    director.gone('bank-a');
    end('seen');
    await turn();
    expect(left).toEqual(['5 go']);
  });

  it('fires only on the planned path', async () => {
    const director = directorOf([{ ...kill, path: 'outbox', at: 6 }], [['bank-a-killed', () => Promise.resolve('seen')]]);
    director.reached(reached('committed', 31));
    expect(left).toEqual(['31 go']);
    director.reached(reached('committed', 6));
    await turn();
    expect(events()).toEqual(['fault-fired 6', 'fault-confirmed 6']);
  });

  it('shows a script the same transfer at its next step', async () => {
    const paused: PlannedFault = { name: 'bank-a-paused', at: 5, step: 'begin', path: 'half' };
    const script: Script = async (first, expectStep) => {
      const atWork = expectStep('worked', first.number);
      first.leave('go');
      (await atWork).leave('stand-still');
      return 'seen';
    };
    const director = directorOf([paused], [['bank-a-paused', script]]);
    expect(director.watches()).toEqual([
      { step: 'begin', from: 5 },
      { step: 'worked', from: 5 },
      { step: 'begin', from: 100 },
    ]);
    director.reached(reached('begin', 5));
    await turn();
    director.reached(reached('worked', 5));
    await turn();
    expect(left.slice(0, 2)).toEqual(['5 go', '5 stand-still']);
  });

  it('keeps the last transfers back while a fault is outstanding, spares one at a time, and lets all go in the end', async () => {
    const director = directorOf([kill], [['bank-a-killed', () => Promise.resolve('seen')]]);
    director.reached(reached('begin', 99));
    for (const number of [100, 101, 102]) director.reached(reached('begin', number));
    expect(left).toEqual(['99 go']);
    director.spare();
    expect(left).toEqual(['99 go', '100 go']);
    director.reached(reached('committed', 100));
    await turn();
    expect(left).toEqual(['99 go', '100 go', '100 go', '101 go', '102 go']);
    expect(director.watches()).toEqual([]);
    director.reached(reached('begin', 103));
    expect(left.at(-1)).toBe('103 go');
  });

  it('gives a fault up after some attempts and says so by leaving it unconfirmed', async () => {
    const director = directorOf([kill], [['bank-a-killed', () => Promise.resolve(undefined)]]);
    for (let number = 5; number < 40; number++) {
      director.reached(reached('committed', number));
      await turn();
    }
    expect(director.idle).toBe(true);
    expect(events().filter((event) => event.startsWith('fault-fired'))).toHaveLength(15);
    expect(events().some((event) => event.startsWith('fault-confirmed'))).toBe(false);
  });
});
