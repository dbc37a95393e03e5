import { describe, expect, it } from 'vitest';
import { hashOf, Machine, messagesIn } from './machine.ts';

function filled(seed: number, count: number, options = {}): Machine {
  const machine = new Machine(seed, options);
  machine.open();
  for (let n = 0; n < count; n++)
    machine.put('orders', n % 2, `${n}:`.padEnd(200, 'x'), { tag: n % 3 === 0 ? 'three' : 'other' });
  return machine;
}

describe('reading a queue', () => {
  it('answers each offset outside of it as RocketMQ does', () => {
    const machine = filled(1, 10);
    const status = (topic: string, offset: number): unknown => {
      const { status, nextOffset, count } = machine.read(topic, 0, offset).result;
      return { status, nextOffset, count };
    };
    expect(status('never', 0)).toEqual({ status: 'empty', nextOffset: 0, count: 0 });
    expect(status('never', 7)).toEqual({ status: 'empty', nextOffset: 0, count: 0 });
    expect(status('orders', 5)).toEqual({ status: 'overflow-one', nextOffset: 5, count: 0 });
    expect(status('orders', 6)).toEqual({ status: 'overflow-badly', nextOffset: 5, count: 0 });
    expect(status('orders', -1)).toEqual({ status: 'too-small', nextOffset: 0, count: 0 });
    expect(status('orders', 3)).toEqual({ status: 'found', nextOffset: 5, count: 2 });
  });

  it('keeps to the number and the bytes asked for, but always gives one message', () => {
    const machine = filled(2, 20);
    expect(machine.read('orders', 0, 0, { maxCount: 3 }).result).toMatchObject({ count: 3, nextOffset: 3 });
    expect(machine.read('orders', 0, 0, { maxBytes: 700 }).result.count).toBe(2);
    expect(machine.read('orders', 0, 0, { maxBytes: 1 }).result.count).toBe(1);
  });

  it.each([
    ['in the tail', 64 * 1024],
    ['from disk', 4 * 1024],
  ])('passes over what no tag matches, %s', (_where, tailBytes) => {
    const machine = filled(3, 120, { tailBytes, segmentBytes: 64 * 1024 });
    const three = hashOf('three');
    const bodies: number[] = [];
    let offset = 0;
    for (;;) {
      const { result, messages } = machine.read('orders', 0, offset, { tagMatches: (tagsCode) => tagsCode === three });
      if (result.status === 'overflow-one') break;
      expect(['found', 'none-matched']).toContain(result.status);
      bodies.push(...messages.map((message) => Number(message.body.split(':')[0])));
      offset = result.nextOffset;
    }
    expect(bodies).toEqual(Array.from({ length: 20 }, (_, n) => n * 6));
    const none = machine.read('orders', 0, 0, { tagMatches: () => false }).result;
    expect(none).toMatchObject({ status: 'none-matched', nextOffset: 60, count: 0 });
  });

  it('answers during the call when the messages are in the tail, and gives neighbours as one chunk', () => {
    const machine = new Machine(4, { tailBytes: 64 * 1024, blockBytes: 16 * 1024 });
    machine.open();
    const outcomes = Array.from({ length: 10 }, (_, n) => machine.append('orders', 0, `${n}`));
    machine.until(() => outcomes.every(({ outcome }) => outcome === 'ok'));
    let result;
    machine.store.read({ queue: machine.store.queue('orders', 0), offset: 0, maxCount: 10, maxBytes: 1e6 }, (answer) => {
      result = {
        count: answer.count,
        chunks: answer.chunks.length,
        bodies: messagesIn(answer.chunks).map((message) => message.body),
      };
    });
    expect(result).toEqual({ count: 10, chunks: 1, bodies: Array.from({ length: 10 }, (_, n) => String(n)) });
    expect(machine.store.info().diskReads).toBe(0);
  });

  it('reads far behind in long stretches, not record by record', () => {
    const machine = filled(5, 400);
    const before = machine.store.info().diskReads;
    expect(machine.readAll('orders', 0)).toHaveLength(200);
    expect(machine.store.info().diskReads - before).toBeLessThan(60);
  });

  it('shows nothing before it is durable, in asynchronous mode before it is written', () => {
    for (const flush of ['sync', 'async'] as const) {
      const machine = new Machine(6, { flush });
      machine.open();
      const put = machine.append('orders', 0, 'one');
      machine.until(() => {
        const { maxOffset } = machine.store.queue('orders', 0);
        const { durableEnd, writtenEnd } = machine.store.info();
        if (maxOffset === 1) expect(flush === 'sync' ? durableEnd : writtenEnd).toBeGreaterThan(put.position);
        return put.outcome === 'ok';
      });
      expect(machine.store.queue('orders', 0).maxOffset).toBe(1);
    }
  });

  it('is told of arrivals once per step of the visible end', () => {
    const machine = new Machine(7);
    machine.open();
    const outcomes = Array.from({ length: 20 }, (_, n) => machine.append('orders', n % 2, `${n}`));
    machine.until(() => outcomes.every(({ outcome }) => outcome === 'ok'));
    expect(machine.arrived).toEqual([
      { topic: 'orders', queueId: 0, maxOffset: 10 },
      { topic: 'orders', queueId: 1, maxOffset: 10 },
    ]);
  });

  it('finds old messages through index files, whose damage it repairs unasked', () => {
    const machine = filled(8, 300);
    machine.close();
    machine.open();
    const path = 'index/00000000000000000000';
    machine.disk.flipBit(path, machine.disk.contents(path).length - 30, 1);
    expect(machine.readAll('orders', 0)).toHaveLength(150);
    machine.close();
    expect(machine.open()).toMatchObject({ rebuiltIndexes: 0, notes: [] });
    expect(machine.readAll('orders', 1)).toHaveLength(150);
  });
});

describe('many segments', () => {
  it('are read in any order with a few files open, while others are sealed', () => {
    const machine = new Machine(20, { segmentBytes: 8 * 1024 });
    machine.open();
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 500; n++) machine.put('orders', 0, `${n}:`.padEnd(300, 'x'));
      machine.kill();
      machine.open();
      const { maxOffset } = machine.store.queue('orders', 0);
      for (let n = 0; n < 150; n++) {
        const offset = (n * 761) % maxOffset;
        expect(machine.read('orders', 0, offset, { maxCount: 1 }).messages[0]?.offset).toBe(offset);
        if (n % 10 === 0) machine.put('orders', 0, 'y'.repeat(3000));
      }
    }
    expect(machine.store.info().segments).toBeGreaterThan(64);
  });

  it('one index file is made again for a reader while another is written', () => {
    const machine = new Machine(21);
    machine.open();
    for (let n = 0; n < 200; n++) machine.put('orders', 0, `${n}:`.padEnd(300, 'x'));
    machine.close();
    machine.disk.erase('index/00000000000000016384');
    const bytes = machine.disk.contents('index/00000000000000000000');
    bytes[bytes.length - 8]! ^= 1;
    machine.disk.overwrite('index/00000000000000000000', bytes);
    expect(machine.open().rebuiltIndexes).toBe(1);
    const pieces: number[] = [];
    let [endsMs, together] = [0, 0];
    machine.disk.onCall = ({ kind, path, position, bytes, latencyMs }) => {
      if (kind === 'read' && path === 'log/00000000000000000000' && bytes === 4096 && position % 4096 === 0) {
        pieces.push(position);
        if (machine.world.timeMs < endsMs) together++;
        endsMs = machine.world.timeMs + latencyMs - 0.001;
      }
      return undefined;
    };
    expect(machine.readAll('orders', 0)).toHaveLength(200);
    expect(pieces.slice(0, 3)).toEqual([4096, 8192, 12288]);
    // The pool's threads are left to the log.
    expect(together).toBe(0);
    machine.disk.onCall = undefined;
    machine.close();
    expect(machine.open().rebuiltIndexes).toBe(0);
  });
});

describe('reading a record by its address', () => {
  it('gives any message, in RAM or on disk, and nothing for any other address', () => {
    const machine = filled(9, 100);
    const { position } = machine.readAll('orders', 0)[3]!;
    const newest = machine.put('orders', 0, 'newest');
    expect(machine.record(position).message).toMatchObject({ offset: 3, position });
    expect(machine.record(newest.position).message).toMatchObject({ body: 'newest' });
    const control = machine.control(5, 'not a message');
    machine.until(() => control.outcome === 'ok');
    for (const wrong of [
      -1,
      0.5,
      0,
      100,
      4096,
      position + 1,
      position - 1,
      control.position,
      newest.position + 1,
      1e9,
      Number.MAX_SAFE_INTEGER,
    ]) {
      expect(machine.record(wrong).error, String(wrong)).toMatch(/there is no message at position|nothing is stored at/);
    }
  });

  it('is not deceived by a body that looks like a record', () => {
    const machine = new Machine(10, { tailBytes: 64 * 1024 });
    machine.open();
    const probe = machine.put('orders', 0, 'x'.repeat(100));
    let genuine = Buffer.alloc(0);
    machine.store.readRecord(probe.position, (_error, bytes) => {
      genuine = Buffer.from(bytes);
    });
    // The forged record claims the very address at which it will lie: inside the body of the next message.
    const next = machine.store.info().appendedEnd + 48;
    genuine.writeUInt32BE(next + 88, 32);
    const carrier = machine.append('orders', 0, genuine.toString('latin1'));
    expect(carrier.position).toBe(next);
    machine.until(() => carrier.outcome === 'ok');
    expect(machine.record(next).message).toBeDefined();
    expect(machine.record(next + 88).error).toMatch('there is no message');
  });
});

describe('the line of reads', () => {
  /** A read under way, and behind it as many as wished of one record in a span that is cached. */
  function behindOne(machine: Machine, count: number, done: (n: number) => void): void {
    const messages = machine.readAll('orders', 0);
    const [cached, cold] = [messages[0]!.position, messages[80]!.position];
    machine.close();
    machine.open();
    machine.record(cached);
    machine.store.readRecord(cold, () => done(-1));
    for (let n = 0; n < count; n++) {
      machine.store.readRecord(cached, (error) => {
        expect(error).toBeUndefined();
        done(n);
      });
    }
  }

  it('answers ten thousand that wait for the same cached stretch, in order', () => {
    const machine = filled(30, 200);
    const told: number[] = [];
    behindOne(machine, 10_000, (n) => told.push(n));
    machine.until(() => told.length === 10_001);
    expect(told.every((n, at) => n === at - 1)).toBe(true);
    expect(machine.record(machine.readAll('orders', 0)[3]!.position).error).toBeUndefined();
  });

  it('goes on behind one whose owner throws at its answer', () => {
    const machine = filled(31, 200);
    const told: number[] = [];
    behindOne(machine, 20, (n) => {
      told.push(n);
      if (n === -1 || n === 7) throw new Error(`owner of ${n}`);
    });
    const thrown: unknown[] = [];
    for (let round = 0; round < 3; round++) {
      try {
        machine.run(100);
      } catch (error) {
        thrown.push((error as Error).message);
      }
    }
    expect(thrown).toEqual(['owner of -1', 'owner of 7']);
    expect(told).toEqual(Array.from({ length: 21 }, (_, n) => n - 1));
    expect(machine.record(machine.readAll('orders', 0)[3]!.position).error).toBeUndefined();
  });

  it('lets urgent reads overtake, but not for ever, and refuses none of them', () => {
    const machine = filled(32, 200, { readsWaitingMax: 10 });
    const told: string[] = [];
    const cold = machine.readAll('orders', 0)[10]!.position;
    machine.close();
    machine.open();
    for (let n = 0; n < 12; n++) machine.store.readRecord(cold, (error) => told.push(error === undefined ? 'other' : 'refused'));
    for (let n = 0; n < 40; n++)
      machine.store.readRecord(cold, (error) => told.push(error === undefined ? 'urgent' : 'no'), true);
    expect(machine.store.readsWaiting).toBe(10);
    machine.until(() => told.length === 52);
    expect(told.slice(0, 2)).toEqual(['refused', 'other']);
    expect(told.filter((who) => who === 'urgent')).toHaveLength(40);
    expect(told.slice(2, 18)).toEqual(new Array(16).fill('urgent'));
    expect(told[18]).toBe('other');
    expect(told.at(-1)).toBe('other');
  });
});

describe('finding an offset by time', () => {
  it('gives the first at or after, respectively the last at or before', () => {
    const machine = new Machine(11);
    machine.open();
    const times: number[] = [];
    for (let n = 0; n < 80; n++) {
      machine.put('orders', 0, `${n}:`.padEnd(300, 'x'));
      machine.run(10);
    }
    for (const message of machine.readAll('orders', 0)) times.push(message.storeTimestamp);
    const find = (timestampMs: number, boundary: 'lower' | 'upper'): number => {
      let found = -1;
      machine.store.offsetByTime(machine.store.queue('orders', 0), timestampMs, boundary, (error, offset) => {
        expect(error).toBeUndefined();
        found = offset;
      });
      machine.until(() => found >= 0);
      return found;
    };
    for (const offset of [0, 1, 17, 40, 79]) {
      expect(find(times[offset]!, 'lower')).toBe(offset);
      expect(find(times[offset]!, 'upper')).toBe(offset);
      expect(find(times[offset]! + 1, 'lower')).toBe(offset + 1);
      expect(find(times[offset]! + 1, 'upper')).toBe(offset);
    }
    expect(find(0, 'lower')).toBe(0);
    expect(find(0, 'upper')).toBe(0);
  });
});

describe('store times', () => {
  it('never go back, whatever the clock does', () => {
    const machine = new Machine(12);
    machine.open();
    machine.put('orders', 0, 'one');
    machine.world.jumpWallClock(-3_600_000);
    machine.put('orders', 0, 'two');
    machine.close();
    machine.open();
    machine.put('orders', 0, 'three');
    const times = machine.readAll('orders', 0).map((message) => message.storeTimestamp);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
  });
});
