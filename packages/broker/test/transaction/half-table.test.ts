import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteWriter } from '../../src/byte-pages.ts';
import { HalfState } from '../../src/transaction/half-state.ts';
import { HalfTable } from '../../src/transaction/half-table.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const ID = '0190A1B2C3D4E5F60718293A4B5C6D7E';

function filled(count: number): HalfTable {
  const table = new HalfTable();
  for (let offset = 0; offset < count; offset++)
    table.add(offset, 1000 + offset * 200, 5000 + offset, `g${offset % 3}`, 'orders', ID);
  return table;
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}

/** What typed arrays take that are still in use. The second collection waits for what the first one frees. */
function arrayBytes(): number {
  collect();
  collect();
  return process.memoryUsage().arrayBuffers;
}

/** 32 bits that look like chance. */
function mixed(n: number): number {
  const once = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d);
  const twice = Math.imul(once ^ (once >>> 12), 0x297a2d39);
  return (twice ^ (twice >>> 15)) >>> 0;
}

function restored(bytes: Uint8Array): HalfState {
  const state = new HalfState();
  state.restore(bytes);
  return state;
}

describe('the table of half messages', () => {
  it('gives back every fact of an open half', () => {
    const table = filled(3);
    expect(table.row(2)).toEqual({
      offset: 2,
      position: 1400,
      group: 'g2',
      topic: 'orders',
      id: ID,
      storedAtMs: 5002,
      checks: 0,
      immuneUntilMs: 0,
      state: 'open',
    });
  });

  it('keeps ids that are not 32 upper-case hex digits as they are', () => {
    const table = new HalfTable();
    const ids = ['order-17', ID.toLowerCase(), '7F000001ABCD'.padEnd(56, '0'), ''];
    ids.forEach((id, offset) => table.add(offset, offset * 100, 0, 'g', 't', id));
    expect(ids.map((_, offset) => table.row(offset)?.id)).toEqual(ids);
  });

  it('counts what each group has unsettled, open and parked', () => {
    const table = filled(10_000);
    expect(['g0', 'g1', 'g2', 'g3'].map((group) => table.unsettledOf(group))).toEqual([3334, 3333, 3333, 0]);
    table.settle(0, 'committed');
    table.settle(0, 'rolled-back');
    table.park(1);
    table.park(4);
    table.settle(4, 'rolled-back');
    expect(['g0', 'g1', 'g2'].map((group) => table.unsettledOf(group))).toEqual([3333, 3332, 3333]);
    table.clear();
    expect(table.unsettledOf('g0')).toBe(0);
  });

  it('lets the first verdict win and tells which it was', () => {
    const table = filled(2);
    expect(table.settle(0, 'committed')).toBe(true);
    expect(table.settle(0, 'rolled-back')).toBe(false);
    expect(table.state(0)).toBe('committed');
    expect(table.openCount).toBe(1);
  });

  it('finds an open half by its position over several pages', () => {
    const table = filled(10_000);
    expect(table.offsetAt(1000 + 9000 * 200)).toBe(9000);
    expect(table.offsetAt(1000 + 4096 * 200)).toBe(4096);
    expect(table.offsetAt(1001)).toBe(-1);
    expect(table.settleAt(1000 + 9000 * 200, 'rolled-back')).toBe(true);
    expect(table.state(9000)).toBe('rolled-back');
  });

  it('still knows the outcome of halves whose page has been freed', () => {
    const table = filled(5000);
    for (let offset = 0; offset < 4096; offset++) table.settle(offset, offset % 2 === 0 ? 'committed' : 'rolled-back');
    expect(table.state(10)).toBe('committed');
    expect(table.state(11)).toBe('rolled-back');
    expect(table.row(10)).toBeUndefined();
    expect(table.nextOpen(0)).toBe(4096);
  });

  it('parks a half: listed, no longer walked over, still settled by a late answer', () => {
    const table = filled(3);
    table.setChecks(1, 15);
    table.park(1);
    expect(table.nextOpen(1)).toBe(2);
    expect(table.rows().map(({ offset, state, checks }) => [offset, state, checks])).toEqual([
      [1, 'parked', 15],
      [0, 'open', 0],
      [2, 'open', 0],
    ]);
    expect(table.oldestPosition()).toBe(1000);
    expect(table.settleAt(1200, 'committed')).toBe(true);
    expect(table.parkedCount).toBe(0);
    expect(table.state(1)).toBe('committed');
  });

  it('forgets outcomes of long ago instead of growing, and never an open half', () => {
    const table = new HalfTable();
    const count = 4096 * 70;
    for (let offset = 0; offset < count; offset++) {
      table.add(offset, offset * 100, 0, 'g', 't', ID);
      if (offset !== 4096 * 3) table.settle(offset, 'committed');
    }
    expect(table.state(0)).toBe('absent');
    expect(table.state(4096 * 3)).toBe('open');
    expect(table.openCount).toBe(1);
  });

  it('comes back from a snapshot with a half that has waited while very many others were settled', () => {
    const before = new HalfState();
    for (let offset = 0; offset < 4096 * 70; offset++) {
      before.table.add(offset, 1000 + offset * 100, 0, 'g', 't', ID);
      if (offset !== 4096 * 3 && offset !== 4096 * 4) before.table.settle(offset, 'committed');
    }
    before.table.park(4096 * 4);
    const after = new HalfState();
    after.restore(before.snapshot());
    expect(after.table.rows()).toEqual(before.table.rows());
    expect(after.table.state(4096 * 69)).toBe('committed');
    expect(after.table.settleAt(1000 + 4096 * 3 * 100, 'committed')).toBe(true);
  });

  it('comes back from a snapshot with a first page in which nothing is settled yet', () => {
    const before = new HalfState();
    for (let offset = 0; offset < 4097; offset++) before.table.add(offset, 1000 + offset * 100, 0, 'g', 't', ID);
    before.table.settle(4096, 'rolled-back');
    const after = new HalfState();
    after.restore(before.snapshot());
    expect(after.table.openCount).toBe(4096);
    expect(after.table.state(0)).toBe('open');
    expect(after.table.state(4096)).toBe('rolled-back');
  });

  it('is the same after a snapshot, whatever happened to its halves before', () => {
    const half = fc.record({
      outcome: fc.constantFrom('open', 'open', 'committed', 'rolled-back', 'parked', 'checked', 'immune'),
      group: fc.constantFrom('pay', 'ship', 'größe'),
      id: fc.constantFrom(ID, ID.replace('0190', 'A190'), ID.toLowerCase(), 'order', ''),
      far: fc.constantFrom(0, 0, 0, 2 ** 34),
    });
    const runs = fc.array(fc.record({ half, times: fc.integer({ min: 1, max: 3000 }) }), { maxLength: 8 });
    fc.assert(
      fc.property(runs, fc.nat(9000), (list, first) => {
        const before = new HalfState();
        let at = first;
        for (const { half, times } of list)
          for (let n = 0; n < times; n++, at++) {
            before.table.add(at, 1000 + at * 100 + half.far, 5000 + at, half.group, 'orders', half.id);
            if (half.outcome === 'committed' || half.outcome === 'rolled-back') before.table.settle(at, half.outcome);
            if (half.outcome === 'checked' || half.outcome === 'parked') before.table.setChecks(at, 1 + (n % 15));
            if (half.outcome === 'parked') before.table.park(at);
            if (half.outcome === 'immune') before.table.setImmunity(at, 77_000 + n);
          }
        const after = restored(before.snapshot());
        const some = (state: HalfState): unknown => [state.table.rows(50), state.table.openCount, state.table.parkedCount];
        expect(some(after)).toEqual(some(before));
        for (const group of ['pay', 'ship', 'größe'])
          expect(after.table.unsettledOf(group)).toBe(before.table.unsettledOf(group));
        for (let offset = first; offset < at; offset += 97) {
          expect(after.table.state(offset)).toBe(before.table.state(offset));
          expect(after.table.row(offset)).toEqual(before.table.row(offset));
        }
        // And it goes on alike.
        for (const { table } of [before, after]) {
          table.add(at, 1000 + at * 100, 6000 + at, 'ship', 'ledger', ID);
          for (let offset = first; offset <= at; offset += 3) table.settleAt(1000 + offset * 100, 'committed');
        }
        expect(some(after)).toEqual(some(before));
      }),
      { numRuns: 40 },
    );
  });

  it('refuses a snapshot that does not add up, cut off or with an impossible number, and never takes it for another', () => {
    const before = new HalfState();
    for (let offset = 0; offset < 4096 + 30; offset++) before.table.add(offset, 1000 + offset * 100, offset, 'g', 't', ID);
    before.table.park(3);
    const bytes = Buffer.from(before.snapshot());
    for (let length = 0; length < bytes.length; length += length < 100 || length > bytes.length - 300 ? 1 : 997)
      expect(() => new HalfState().restore(bytes.subarray(0, length)), `length ${length}`).toThrow(/half messages|wanted/);
    const states = Buffer.from(bytes);
    states[bytes.indexOf(Buffer.alloc(50, 1)) + 7] = 9;
    expect(() => new HalfState().restore(states)).toThrow('does not add up: state 9');
    states[bytes.indexOf(Buffer.alloc(50, 1)) + 7] = 2;
    expect(() => new HalfState().restore(states)).toThrow('parked rows are missing');
  });

  it('comes back from a snapshot of the first version, which had a row for each half', () => {
    const states = new Uint8Array(4096);
    states.set([1, 3, 4, 2]);
    const writer = new ByteWriter().u16(1).u32(1).i64(2).blob(states).u32(2);
    for (const [offset, parked] of [
      [8192, 0],
      [8195, 1],
    ] as const)
      writer.i64(offset).i64(1000).i64(5000).i64(9000).u8(4).u8(parked).text('g').text('t').text(`id ${offset}`);
    const { table } = restored(writer.view());
    expect([8192, 8193, 8194, 8195, 8196].map((offset) => table.state(offset))).toEqual([
      'open',
      'committed',
      'rolled-back',
      'parked',
      'absent',
    ]);
    const facts = { position: 1000, storedAtMs: 5000, immuneUntilMs: 9000, checks: 4, group: 'g', topic: 't' };
    expect(table.row(8192)).toEqual({ ...facts, offset: 8192, id: 'id 8192', state: 'open' });
    expect(table.row(8195)).toEqual({ ...facts, offset: 8195, id: 'id 8195', state: 'parked' });
  });

  it('is noted in as many bytes as it takes in memory, and in few when few are open', () => {
    const state = new HalfState();
    for (let offset = 0; offset < 40 * 4096; offset++) state.table.add(offset, offset * 100, offset, 'g', 't', ID);
    expect(state.snapshot().length / (40 * 4096)).toBeLessThan(12.2);
    for (let offset = 0; offset < 40 * 4096; offset++) if (offset % 400 !== 0) state.table.settle(offset, 'committed');
    // A byte for each outcome.
    expect(state.snapshot().length).toBeLessThan(40 * (4096 + 500));
  });

  it('gives back what does not fit the short form: far positions, late times, keys of any text, many senders', () => {
    const table = new HalfTable();
    const rows = Array.from({ length: 300 }, (_, offset) => ({
      offset,
      position: 1000 + offset * 2 ** (offset % 40),
      storedAtMs: 1_790_000_000_000 + (offset % 7) * 2 ** 23,
      group: `g${offset % 5}`,
      topic: `t${offset % 3}`,
      id: [ID, `order ${offset}`, ID.toLowerCase(), offset.toString(16).toUpperCase().padStart(32, 'F')][offset % 4]!,
    }));
    for (const { offset, position, storedAtMs, group, topic, id } of rows)
      table.add(offset, position, storedAtMs, group, topic, id);
    for (const row of rows) {
      expect(table.row(row.offset)).toMatchObject(row);
      const key = Buffer.from(` ${row.id}`);
      const asks = (position: number, group: string, end: number): boolean =>
        table.isOpenAs(row.offset, position, group, key, 1, end);
      expect(asks(row.position, row.group, key.length)).toBe(true);
      expect(asks(row.position + 1, row.group, key.length)).toBe(false);
      expect(asks(row.position, 'other', key.length)).toBe(false);
      expect(asks(row.position, row.group, key.length - 1)).toBe(false);
    }
    expect(table.settleAt(rows[39]!.position, 'committed')).toBe(true);
    expect(table.state(39)).toBe('committed');
    const { position, group, id } = rows[39]!;
    expect(table.isOpenAs(39, position, group, Buffer.from(id), 0, id.length)).toBe(false);
  });

  it('never takes a key for its neighbour that differs in one digit', () => {
    const table = new HalfTable();
    const digit = fc.integer({ min: 0, max: 31 });
    const near = fc.array(fc.tuple(digit, fc.constantFrom(...'0123456789ABCDEF'.split(''))), { maxLength: 3 });
    const all = new Map<number, string>();
    fc.assert(
      fc.property(near, fc.nat(200_000), (changes, laterMs) => {
        const digits = ID.split('');
        for (const [at, to] of changes) digits[at] = to;
        const id = digits.join('');
        const offset = all.size;
        table.add(offset, offset * 100, 1_790_000_000_000 + laterMs, 'g', 't', id);
        all.set(offset, id);
        expect(table.row(offset)).toMatchObject({ id, storedAtMs: 1_790_000_000_000 + laterMs });
        for (let at = 0; at < 32; at++) {
          const other = Buffer.from(id);
          other[at] = other[at] === 0x30 ? 0x31 : 0x30;
          expect(table.isOpenAs(offset, offset * 100, 'g', other, 0, 32), `digit ${at}`).toBe(false);
        }
      }),
      { numRuns: 1000 },
    );
    for (const [offset, id] of all) {
      expect(table.row(offset)?.id).toBe(id);
      expect(table.isOpenAs(offset, offset * 100, 'g', Buffer.from(id), 0, 32)).toBe(true);
    }
  });

  it('comes back from a snapshot of the second version, whose makers had 24 digits of the key', () => {
    const states = new Uint8Array(4096);
    states.set([1, 3, 1, 1]);
    const bytes = (...words: number[]): Uint8Array => {
      const buffer = Buffer.alloc(4 * words.length);
      words.forEach((word, n) => buffer.writeUInt32LE(word, 4 * n));
      return buffer;
    };
    const shorts = (...words: number[]): Uint8Array => bytes(...words).filter((_, at) => at % 4 < 2);
    const makers = bytes(1, 0, 0x0190a1b2, 0xc3d4e5f6, 0x0718293a, 0, 1, 0, 0, 0);
    const writer = new ByteWriter().u16(2).u32(2).text('pay').text('ship').u32(2).text('orders').text('ledger');
    writer
      .u32(5)
      .u32(1)
      .i64(1000)
      .blob(states)
      .u8(2)
      .blob(shorts(0, 2, 3))
      .i64(1000)
      .i64(5000)
      .blob(makers);
    writer
      .blob(bytes(1, 201, 0))
      .blob(shorts(0, 7, 0))
      .blob(Uint8Array.of(0, 2, 0))
      .blob(shorts(0, 0, 1));
    writer.blob(bytes(0x4b5c6d7e, 0xfb5c6d7f, 0)).blob(Uint8Array.of(0, 9, 1));
    writer
      .u32(1)
      .u16(3)
      .i64(2 ** 40)
      .u32(1)
      .u16(3)
      .i64(77)
      .u32(1)
      .u16(3)
      .text('order 17')
      .u32(0)
      .u32(0);
    const { table } = restored(restored(writer.view()).snapshot());
    const facts = { group: 'ship', topic: 'orders', immuneUntilMs: 0, state: 'open' };
    expect(table.rows()).toEqual([
      { ...facts, offset: 20_480, position: 1000, id: ID, storedAtMs: 5000, checks: 0 },
      { ...facts, offset: 20_482, position: 1200, id: `${ID.slice(0, 24)}FB5C6D7F`, storedAtMs: 136_079, checks: 9 },
      { ...facts, offset: 20_483, position: 2 ** 40, group: 'pay', topic: 'ledger', id: 'order 17', storedAtMs: 77, checks: 1 },
    ]);
    expect(table.state(20_481)).toBe('committed');
  });

  /** Keys as our client draws them: a new prefix each ms, then a counter. */
  const ours = (ms: number, nth: number): string =>
    hex(ms, 12) +
    hex(0x7000 + (mixed(ms) >>> 20), 4) +
    hex(0x80000000 + (mixed(ms + 1) >>> 2), 8) +
    hex((mixed(ms + 2) >>> 1) + nth, 8);
  /** As RocketMQ's does: its address, process and loader, ms, and a counter that goes on. */
  const rocketmqs = (ms: number, _nth: number, n: number): string =>
    `7F0000011A2B18B4AAC2${hex(ms % 2 ** 32, 8)}${hex(n % 65_536, 4)}`;

  it.each([
    ['of one producer at 5,000 a second', 15, ours, 1, 5000],
    ['of one producer at 20,000 a second', 13, ours, 1, 20_000],
    ['of one producer at 200,000 a second', 12.5, ours, 1, 200_000],
    ['of ten producers at 50,000 a second', 15, ours, 10, 50_000],
    ['of ten producers at 5,000 a second', 26, ours, 10, 5000],
    ['of a RocketMQ client at 100 a second', 13, rocketmqs, 1, 100],
  ])('takes for an open half %s at most %d bytes', async (_, most, idOf, producers, rate) => {
    const table = new HalfTable();
    const halves = 50 * 4096;
    const before = arrayBytes();
    const latest = Array.from({ length: producers }, () => ({ ms: 0, nth: 0, n: 0 }));
    const key = Buffer.alloc(32);
    for (let offset = 0; offset < halves; offset++) {
      const ms = 1_790_000_000_000 + Math.floor((offset * 1000) / rate);
      const who = mixed(offset) % producers;
      const one = latest[who]!;
      one.nth = one.ms === ms ? one.nth + 1 : 0;
      one.ms = ms;
      // Each producer has times of its own, so that it draws other digits.
      key.write(idOf(ms + who * 1e9, one.nth, one.n++), 'latin1');
      table.addKeyed(offset, 1e9 + offset * 400, ms + 2, `payments-${who}`, 'orders', key, 0, 32);
    }
    // What the collector found free is given back beside this thread.
    await expect.poll(() => (arrayBytes() - before) / halves, { timeout: 40_000 }).toBeLessThan(most);
    expect(table.openCount).toBe(halves);
  });

  it('agrees with a plain map over random steps', () => {
    const step = fc.oneof(
      fc.constant({ act: 'add' as const, at: 0 }),
      fc.record({ act: fc.constantFrom('commit', 'rollback', 'park', 'count'), at: fc.nat(60) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = new HalfTable();
        const model = new Map<number, string>();
        let next = 4070;
        for (const { act, at } of steps) {
          const offset = 4070 + at;
          const known = model.get(offset);
          const unsettled = known === 'open' || known === 'parked';
          if (act === 'add') {
            table.add(next, next * 64, 1, 'g', 't', ID);
            model.set(next++, 'open');
          } else if (act === 'park') {
            table.park(offset);
            if (known === 'open') model.set(offset, 'parked');
          } else if (act === 'count') {
            table.setChecks(offset, 3);
          } else {
            const outcome = act === 'commit' ? 'committed' : 'rolled-back';
            expect(table.settleAt(offset * 64, outcome)).toBe(unsettled);
            if (unsettled) model.set(offset, outcome);
          }
        }
        for (const [offset, state] of model) expect(table.state(offset)).toBe(state);
        expect(table.openCount).toBe([...model.values()].filter((state) => state === 'open').length);
        const open = [...model].filter(([, state]) => state === 'open').map(([offset]) => offset);
        const walked: number[] = [];
        for (let at = table.nextOpen(0); at >= 0; at = table.nextOpen(at + 1)) walked.push(at);
        expect(walked).toEqual(open.sort((a, b) => a - b));
      }),
      { numRuns: 200 },
    );
  });
});
