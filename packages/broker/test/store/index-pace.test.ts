import { expect, it } from 'vitest';
import type { Disk, DiskError } from '@tallystick/base';
import type { SimProcess } from '../../../../test/sim/world.ts';
import { Machine, type Outcome } from './machine.ts';

const BYTES = 1000;

/** The same disk, on which opening an index file to be written takes until `go`, or fails until then. */
function heldIndexes(machine: Machine, error?: DiskError): { go(): void; opens: number } {
  const waiting: (() => void)[] = [];
  const gate = {
    opens: 0,
    isOpen: false,
    go() {
      gate.isOpen = true;
      for (const run of waiting.splice(0)) run();
    },
  };
  const mount = machine.disk.mount.bind(machine.disk);
  machine.disk.mount = (process: SimProcess): Disk => {
    const disk = mount(process);
    const open: Disk['open'] = (path, how, done) => {
      if (path !== 'index/writing') return disk.open(path, how, done);
      gate.opens++;
      if (gate.isOpen) disk.open(path, how, done);
      else if (error !== undefined) machine.world.after(1, () => done(error, undefined as never));
      else waiting.push(() => disk.open(path, how, done));
    };
    return new Proxy(disk, {
      get(of, name) {
        if (name === 'open') return open;
        const member: unknown = Reflect.get(of, name);
        return typeof member === 'function' ? (member as (...given: unknown[]) => unknown).bind(of) : member;
      },
    });
  };
  return gate;
}

it('a log that outruns its index files waits for them, and goes on when they are written', () => {
  const machine = new Machine(1);
  const gate = heldIndexes(machine);
  machine.open();
  const outcomes: Outcome[] = [];
  for (let n = 0; n < 600; n++) {
    outcomes.push(machine.append('orders', 0, `${n}:`.padEnd(BYTES, 'x')));
    machine.run(20);
  }
  // One index file is being written and nine wait, beside the segment that is in use and the one made ready before.
  expect(machine.store.info().segments).toBe(12);
  expect(gate.opens).toBe(1);
  expect(new Set(outcomes.slice(300).map(({ outcome }) => outcome))).toEqual(new Set(['busy']));
  gate.go();
  machine.run(60_000);
  const before = outcomes.filter(({ outcome }) => outcome === 'ok' || outcome === 'timeout').length;
  for (let n = 0; n < 300; n++) expect(machine.put('orders', 0, `${n}:`.padEnd(BYTES, 'y')).outcome).toBe('ok');
  expect(machine.store.info().segments).toBeGreaterThan(20);
  expect(machine.readAll('orders', 0)).toHaveLength(before + 300);
  expect(machine.failures).toEqual([]);
  machine.close();
});

it('nor does it leave them behind when there is no space for them alone', () => {
  const machine = new Machine(3);
  const gate = heldIndexes(machine, { code: 'ENOSPC', message: 'no space left' });
  machine.open();
  for (let n = 0; n < 3000; n++) {
    machine.append('orders', 0, `${n}:`.padEnd(BYTES, 'x'));
    machine.run(50);
  }
  expect(machine.store.info().segments).toBeLessThan(16);
  expect(gate.opens).toBeGreaterThan(50);
  gate.go();
  machine.run(30_000);
  for (let n = 0; n < 300; n++) expect(machine.put('orders', 0, `${n}:`.padEnd(BYTES, 'y')).outcome).toBe('ok');
  expect(machine.store.info().segments).toBeGreaterThan(20);
  expect(machine.failures).toEqual([]);
  machine.close();
});

it('a segment is made ready while an index file is being written', () => {
  const machine = new Machine(2);
  const gate = heldIndexes(machine);
  machine.open();
  for (let n = 0; n < 60; n++) expect(machine.put('orders', 0, `${n}:`.padEnd(BYTES, 'x')).outcome).toBe('ok');
  expect(gate.opens).toBe(1);
  gate.go();
  machine.close();
  machine.open();
  expect(machine.readAll('orders', 0)).toHaveLength(60);
});
