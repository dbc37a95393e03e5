import { describe, expect, it } from 'vitest';
import type { DiskCall } from '../../../../test/sim/disk.ts';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import type { StoreError } from '../../src/store/store-types.ts';
import { Machine } from './machine.ts';

/** The file made ahead for the next segment, after a clean close: nobody looks through it before it is needed. */
const NEXT = 'log/00000000000000016384';
const body = (n: number): string => `${n}:`.padEnd(200, 'x');

function closed(options: GivenStoreOptions = {}): Machine {
  const machine = new Machine(3, options);
  machine.open();
  for (let n = 0; n < 20; n++) machine.put('orders', 0, body(n));
  machine.until(() => machine.disk.has(NEXT));
  machine.close();
  // Something that nobody of us wrote, so that a file that was made anew would be another one.
  machine.disk.flipBit(NEXT, 9000, 1);
  return machine;
}

/** Starts it with a disk on which `fate` happens to calls about that file, from when it is opened to be used. */
function openWith(machine: Machine, fate: (call: DiskCall) => string | undefined): void {
  let opened = 0;
  machine.disk.onCall = (call) => {
    if (call.path !== NEXT) return undefined;
    // The start itself opens it first.
    if (call.kind === 'open') opened++;
    return opened > 1 ? fate(call) : undefined;
  };
  machine.open();
}

function untouched(machine: Machine, made: Buffer): void {
  expect(machine.disk.contents(NEXT).equals(made)).toBe(true);
  expect(machine.disk.files().filter((path) => path.startsWith('quarantine/'))).toEqual([]);
}

describe('a file made ahead that cannot be looked through ends all appends and stays where it is', () => {
  it.each([
    ['open', 'EIO', 'opened', 'check the disk'],
    ['open', 'EACCES', 'opened', 'give its user the right to read and write there'],
    ['read', 'EIO', 'read', 'check the disk'],
    ['size', 'EIO', 'read', 'check the disk'],
  ])('%s: %s', (kind, code, act, next) => {
    const machine = closed();
    const made = machine.disk.contents(NEXT);
    let opened = 0;
    openWith(machine, (call) => {
      const fate = call.kind === kind ? code : undefined;
      if (call.kind === 'open' && fate === undefined) opened++;
      if (call.kind === 'close') opened--;
      return fate;
    });
    machine.until(() => machine.failures.length > 0);
    expect(machine.failures).toEqual([
      expect.stringMatching(
        new RegExp(
          `^preparing a segment failed: ${NEXT}, made ahead .*, cannot be ${act}: .*${code}.*; ${next}; then remove the file FSYNC_FAILED from the data folder and start again$`,
        ),
      ),
    ]);
    expect(machine.append('orders', 0, body(20)).outcome).toBe('failed');
    machine.run(5000);
    expect(opened).toBe(0);
    untouched(machine, made);
    machine.kill();
    expect(machine.tryOpen().error?.message).toMatch(/^R2: the file FSYNC_FAILED forbids a start: .*made ahead/);
    // What the sentence said is enough.
    machine.disk.erase('FSYNC_FAILED');
    machine.disk.flipBit(NEXT, 9000, 1);
    machine.disk.onCall = undefined;
    machine.open();
    expect(machine.readAll('orders', 0)).toHaveLength(20);
  });
});

it.each(['EMFILE', 'ENFILE'])('with too many open files it waits for the file and uses it then (%s)', (code) => {
  const machine = closed({ syncFlushTimeoutMs: 60_000 });
  machine.disk.flipBit(NEXT, 9000, 1);
  let isShort = true;
  let replaced = 0;
  openWith(machine, ({ kind }) => {
    if (kind === 'rename') replaced++;
    return isShort && kind === 'open' ? code : undefined;
  });
  machine.run(3000);
  expect(machine.shortOfFiles.length).toBeGreaterThan(2);
  for (const sentence of machine.shortOfFiles)
    expect(sentence).toMatch(/; the process may open too few files \(ulimit -n\): let it open more$/);
  // What settles earlier promises fills the segment and waits, although the reserve stands by.
  const settled = Array.from({ length: 40 }, (_, n) => machine.append('orders', 0, body(20 + n), { mayUseReserve: true }));
  machine.run(3000);
  expect(settled.some(({ outcome }) => outcome !== 'ok')).toBe(true);
  isShort = false;
  machine.until(() => settled.every(({ outcome }) => outcome !== 'waiting') && !machine.store.info().isFull);
  expect(replaced).toBe(0);
  expect(machine.failures).toEqual([]);
  const kept = 20 + settled.filter(({ outcome }) => outcome === 'ok').length;
  machine.powerCut(0);
  machine.open();
  expect(machine.readAll('orders', 0)).toHaveLength(kept);
});

it('the reserve does not take the place of a file that was not looked through', () => {
  const machine = closed();
  const made = machine.disk.contents(NEXT);
  let replaced = 0;
  openWith(machine, ({ kind }) => {
    if (kind === 'rename') replaced++;
    return kind === 'open' ? 'EMFILE' : undefined;
  });
  for (let n = 0; n < 60; n++) machine.append('orders', 0, body(n), { mayUseReserve: true });
  machine.run(5000);
  expect(machine.store.info().segments).toBe(2);
  expect(replaced).toBe(0);
  untouched(machine, made);
});

describe('a start that cannot open or read a file of the log says which one, why and what to do, and changes nothing', () => {
  it.each([
    ['open', 'EMFILE', 'the process may open too few files \\(ulimit -n\\): let it open more'],
    ['open', 'EACCES', 'give its user the right to read and write there'],
    ['open', 'EIO', 'check the disk'],
    ['read', 'EIO', 'check the disk'],
  ])('%s: %s', (kind, code, next) => {
    const machine = closed();
    const before = machine.disk.files().map((path) => [path, machine.disk.contents(path).toString('latin1')]);
    let opened = 0;
    machine.disk.onCall = (call) => {
      const fate = call.path === NEXT && call.kind === kind ? code : undefined;
      if ((call.kind === 'open' || call.kind === 'create') && fate === undefined) opened++;
      if (call.kind === 'close') opened--;
      return fate;
    };
    const { error } = machine.tryOpen();
    expect(error).toMatchObject({ kind: 'io' } satisfies Partial<StoreError>);
    expect(error?.message).toMatch(new RegExp(`^the store cannot be opened: .*${NEXT}.*; ${next}.*, then start again$`));
    expect(error?.message).toMatch(code);
    // One who tries again, in the same process, does not run out of files by it.
    expect(opened).toBe(0);
    expect(machine.disk.files().map((path) => [path, machine.disk.contents(path).toString('latin1')])).toEqual(before);
    machine.disk.onCall = undefined;
    machine.kill();
    machine.open();
    expect(machine.readAll('orders', 0)).toHaveLength(20);
  });
});
