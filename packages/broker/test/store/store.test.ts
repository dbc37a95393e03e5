import { describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

describe('a store', () => {
  it('gives back after a clean restart what was appended', () => {
    const machine = new Machine(1);
    expect(machine.open()).toMatchObject({ isNew: true, clean: true, end: 4096 });
    const first = machine.append('orders', 0, 'one');
    const second = machine.append('orders', 0, 'two', { tag: 'A' });
    expect(first.outcome).toBe('waiting');
    machine.until(() => second.outcome === 'ok');
    expect(first).toMatchObject({ outcome: 'ok', position: 4096 + 48, queueOffset: 0 });
    expect(machine.readAll('orders', 0).map((message) => message.body)).toEqual(['one', 'two']);
    machine.close();
    expect(machine.open()).toMatchObject({ isNew: false, clean: true, notes: [] });
    expect(machine.readAll('orders', 0).map((message) => message.body)).toEqual(['one', 'two']);
    expect(machine.put('orders', 0, 'three')).toMatchObject({ outcome: 'ok', queueOffset: 2 });
  });

  it('goes on over many segments and restarts', () => {
    const machine = new Machine(2);
    const bodies: string[] = [];
    for (let round = 0; round < 5; round++) {
      machine.open();
      for (let n = 0; n < 60; n++) {
        const body = `${round}-${n}-`.padEnd(300, 'x');
        bodies.push(body);
        expect(machine.put('orders', n % 2, body).outcome).toBe('ok');
      }
      const all = [...machine.readAll('orders', 0), ...machine.readAll('orders', 1)];
      expect(all.map((message) => message.body).sort()).toEqual([...bodies].sort());
      if (round % 2 === 0) machine.close();
      else machine.kill();
    }
    expect(machine.open().notes).toEqual([]);
    expect(machine.store.info().segments).toBeGreaterThan(5);
  });
});
