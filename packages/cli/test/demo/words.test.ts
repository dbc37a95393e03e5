import { afterEach, describe, expect, it, vi } from 'vitest';
import { Children } from '../../src/demo/children.ts';
import { DemoFolder } from '../../src/demo/folder.ts';
import type { Report } from '../../src/demo/report.ts';
import { show, tell } from '../../src/demo/tell.ts';
import { money, type View } from '../../src/demo/view.ts';

const report: Report = {
  seed: 1,
  transfers: 50,
  settled: 50,
  lost: 0,
  duplicateEffects: 0,
  duplicatesAbsorbed: 2,
  checkBacks: 3,
  deadLettersMended: 1,
  moneyBefore: 100_000,
  moneyAfter: 100_000,
  seconds: 9.5,
  faults: [{ name: 'poison', count: 1 }],
  violations: [],
};

function told(changes: Partial<Report>, stuck?: string): { code: number; out: string[]; err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void out.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void err.push(line));
  const code = tell({ report: { ...report, ...changes }, stuck, json: true, folder: '/tmp/run' });
  return { code, out, err };
}

afterEach(() => vi.restoreAllMocks());

describe('the words of the demo', () => {
  it('end with the report alone and 0 when all was well', () => {
    expect(told({})).toEqual({ code: 0, out: [JSON.stringify(report)], err: [] });
  });

  it('name a violated invariant and end with 1', () => {
    const { code, err } = told({ violations: [{ invariant: 'nothing-lost', seen: '1 transfer' }] });
    expect(code).toBe(1);
    expect(err[0]).toContain('invariant violated: nothing-lost');
  });

  it('do not pass a run in which a fault was not seen, or which never came to rest', () => {
    expect(told({ faults: [{ name: 'poison', count: 0 }] })).toMatchObject({ code: 1, err: ['not seen in this run: poison'] });
    expect(told({}, 'nothing moved')).toMatchObject({ code: 1, err: ['ended because nothing moved'] });
  });

  it('write minor units as people do', () => {
    expect([0, 5, 100, -12_345, 123_456_789].map(money)).toEqual(['0.00', '0.05', '1.00', '-123.45', '1 234 567.89']);
  });

  it('show a violation while it is seen, and what a fault is about', () => {
    const events: string[] = [];
    const marks: string[] = [];
    const view: View = {
      account: () => {},
      event: (text) => events.push(text),
      fault: (name, state) => marks.push(`${name} ${state}`),
      end: () => {},
    };
    show(view, { what: 'violation', invariant: 'one-effect', seen: '2' });
    show(view, { what: 'fault-fired', fault: 'connection-cut', number: 7, serial: 'S' });
    show(view, { what: 'mended', serial: 'S' });
    expect(events).toEqual([
      'VIOLATED one-effect: 2',
      expect.stringContaining('transfer 7: the connection between'),
      'S mended and sent again',
    ]);
    expect(marks).toEqual(['connection-cut fired', 'poison confirmed']);
  });
});

describe('the child processes', () => {
  const children = new Children({ seed: 1, transfers: 4_000, path: 'both' }, new DemoFolder('/run'), {
    broker: 1,
    bankA: 2,
    bankB: 3,
  });

  it('reach the broker only through the proxy of their bank', () => {
    const portOf = (args: readonly string[]) => (JSON.parse(args[1]!) as { brokerPort: number }).brokerPort;
    expect([children.bankA(), children.standby(), children.bankB(), children.checker()].map(({ args }) => portOf(args))).toEqual([
      2, 2, 3, 0,
    ]);
  });

  it('start many transfers in the time that few would take', () => {
    expect((JSON.parse(children.bankA().args[1]!) as { paceMs: number }).paceMs).toBe(3);
  });

  it('give the broker the lossy disk only when asked to', () => {
    expect(children.broker(false).args).not.toContain('--lose-unsynced');
    expect(children.broker(true).args).toContain('--lose-unsynced');
    expect(children.broker(true).args).not.toContain('--ack-before-sync');
  });
});
