import { describe, expect, it } from 'vitest';
import { groupBytes } from '../../src/store/group-header.ts';
import { Machine } from './machine.ts';
import { Tally } from './model.ts';

const FIRST = 'log/00000000000000000000';
const NEXT = 'log/00000000000000016384';

/** Some messages of 200 bytes, each acknowledged before the next: one group each. */
function fill(machine: Machine, count: number, from = 0): void {
  for (let n = from; n < from + count; n++) expect(machine.put('orders', 0, `${n}:`.padEnd(200, 'x')).outcome).toBe('ok');
}

function filled(seed: number, count: number, options = {}): Machine {
  const machine = new Machine(seed, options);
  machine.open();
  fill(machine, count);
  return machine;
}

function bodies(machine: Machine): string[] {
  return machine.readAll('orders', 0).map((message) => message.body.split(':')[0]!);
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));

function refusal(machine: Machine): string {
  const { error } = machine.tryOpen();
  machine.kill();
  if (error === undefined) throw new Error('the store opened');
  expect(error.kind).toBe('refused');
  return error.message;
}

describe('R0: what is not understood is not touched', () => {
  it('a segment of another format is refused', () => {
    const machine = filled(1, 3);
    machine.close();
    const other = new Machine(2);
    other.open();
    other.close();
    const bytes = machine.disk.contents(FIRST);
    bytes[5] = 9;
    bytes.writeUInt32BE(crcOf(bytes.subarray(0, 64)), 64);
    machine.disk.overwrite(FIRST, bytes);
    expect(refusal(machine)).toMatch(/R0: log\/0+: unknown-format: segment format 9/);
  });

  it('a segment of another store is refused', () => {
    const machine = filled(1, 3);
    machine.close();
    const other = filled(2, 3);
    other.close();
    machine.disk.overwrite(FIRST, other.disk.contents(FIRST));
    expect(refusal(machine)).toMatch(/R0: .* belongs to store [0-9a-f]{32}, the checkpoint to [0-9a-f]{32}/);
  });
});

describe('R1: a store that was closed starts at once', () => {
  it('reads the last segment only and rewrites nothing', () => {
    const machine = filled(3, 150);
    machine.close();
    const report = machine.open();
    expect(report).toMatchObject({ clean: true, rewrittenBytes: 0, tornBytes: 0, rebuiltIndexes: 0, notes: [] });
    expect(machine.store.info().segments).toBeGreaterThan(2);
    expect(report.scannedBytes).toBeLessThanOrEqual(16 * 1024);
    expect(bodies(machine)).toEqual(numbers(150));
  });

  it('leaves the file that is prepared for the next segment to be looked through before its use', () => {
    const machine = filled(3, 20);
    machine.until(() => machine.disk.has(NEXT));
    machine.close();
    const made = machine.disk.contents(NEXT);
    let isOpen = false;
    const read = { before: 0, after: 0 };
    let created = 0;
    let [endsMs, together] = [0, 0];
    machine.disk.onCall = ({ kind, path, position, latencyMs }) => {
      if (kind === 'read' && path === NEXT && position > 0) {
        read[isOpen ? 'after' : 'before']++;
        if (machine.world.timeMs < endsMs) together++;
        endsMs = machine.world.timeMs + latencyMs - 0.001;
      }
      if (kind === 'create' && path.startsWith('log/')) created++;
      return undefined;
    };
    machine.begin((error) => {
      isOpen = error === undefined;
    });
    machine.until(() => isOpen);
    machine.run(1000);
    expect(read).toEqual({ before: 0, after: 3 });
    // The pool's threads are left to the log.
    expect(together).toBe(0);
    expect(created).toBe(0);
    expect(machine.disk.contents(NEXT).equals(made)).toBe(true);
    machine.disk.onCall = undefined;
    fill(machine, 40, 20);
    expect(machine.store.info().segments).toBe(2);
    machine.powerCut(0);
    machine.open();
    expect(bodies(machine)).toEqual(numbers(60));
  });

  it.each(['junk', 'shorter', 'gone'])('makes that file again when it is %s', (trouble) => {
    const machine = filled(3, 20);
    machine.until(() => machine.disk.has(NEXT));
    machine.close();
    const made = machine.disk.contents(NEXT);
    if (trouble === 'junk') machine.disk.flipBit(NEXT, 9000, 1);
    let isOpen = false;
    machine.begin((error) => {
      isOpen = error === undefined;
      if (trouble === 'shorter') machine.disk.overwrite(NEXT, made.subarray(0, 8192));
      if (trouble === 'gone') machine.disk.erase(NEXT);
    });
    machine.until(() => isOpen);
    machine.run(1000);
    expect(machine.disk.contents(NEXT)).toHaveLength(16 * 1024);
    expect(machine.disk.contents(NEXT).subarray(4096).equals(made.subarray(4096))).toBe(true);
    const aside = `quarantine/${NEXT.slice('log/'.length)}.segment-1`;
    expect(machine.disk.has(aside)).toBe(trouble === 'junk');
    expect(machine.movedAside).toEqual(
      trouble === 'junk'
        ? [`${NEXT}, made ahead for the log to go on in, held bytes that the log never wrote; it was moved to ${aside}`]
        : [],
    );
    if (trouble === 'junk') expect(machine.disk.contents(aside).subarray(4096).equals(made.subarray(4096))).toBe(false);
    fill(machine, 40, 20);
    machine.powerCut(0);
    machine.open();
    expect(bodies(machine)).toEqual(numbers(60));
  });

  it('puts a file aside, unread, that says it was never used and lies behind one that is damaged', () => {
    const machine = filled(3, 20);
    machine.until(() => machine.disk.has(NEXT));
    machine.close();
    const unread = machine.disk.contents(NEXT);
    unread.writeUInt32BE(32 * 1024, 36);
    unread.writeUInt32BE(crcOf(unread.subarray(0, 64)), 64);
    unread[9000] = 1;
    machine.disk.overwrite('log/00000000000000032768', unread);
    machine.disk.flipBit(NEXT, 50, 1);
    machine.open();
    const aside = 'quarantine/00000000000000032768.segment-1';
    expect(machine.disk.files()).toContain(aside);
    expect(machine.disk.contents(aside).equals(unread)).toBe(true);
    expect(bodies(machine)).toEqual(numbers(20));
  });

  it('after a kill that file is read before anything is served, as everything behind the end is', () => {
    const machine = filled(3, 20);
    machine.until(() => machine.disk.has(NEXT));
    machine.run(1000);
    machine.kill();
    machine.disk.flipBit(NEXT, 9000, 1);
    expect(refusal(machine)).toMatch(`the machine has not been restarted since`);
  });

  it('a power cut after the close changes nothing', () => {
    const machine = filled(3, 20);
    machine.close();
    machine.powerCut(0);
    expect(machine.open()).toMatchObject({ clean: true, notes: [] });
    expect(bodies(machine)).toEqual(numbers(20));
  });
});

describe('R2: a marker forbids the start until an operator takes it away', () => {
  it.each(['QUARANTINE', 'FSYNC_FAILED'])('%s does, over reboots', (name) => {
    const machine = filled(4, 3);
    machine.close();
    machine.disk.overwrite(name, Buffer.from('{"reason":"seen"}'));
    expect(refusal(machine)).toMatch(new RegExp(`R2: the file ${name} forbids a start: .*seen`));
    machine.powerCut();
    expect(refusal(machine)).toMatch('R2');
    machine.disk.erase(name);
    machine.open();
    expect(bodies(machine)).toEqual(numbers(3));
  });
});

describe('R3: damage to acknowledged data is refused, with file and offset', () => {
  it('a flipped bit in the middle is, on every boot thereafter', () => {
    const machine = filled(5, 20);
    machine.kill();
    const record = groupBytes(200 + 97) * 5 + 4096;
    machine.disk.flipBit(FIRST, record + 100, 3);
    expect(refusal(machine)).toMatch(`R3: acknowledged data is damaged: ${FIRST} at byte ${record} (positions ${record} to`);
    expect(refusal(machine)).toMatch('R2');
    machine.powerCut(0);
    expect(refusal(machine)).toMatch(/R2: .*"offset": \d+/);
  });

  it('after a reboot, too: later groups say that it was durable', () => {
    const machine = filled(5, 20);
    machine.powerCut(1);
    machine.disk.flipBit(FIRST, 4096 + 100, 3);
    expect(refusal(machine)).toMatch(/R3: .*a later group says that the log was durable up to \d+/);
  });

  it('in the last group, after the idle marker, too', () => {
    const machine = filled(5, 20);
    machine.run(1000);
    const last = machine.store.info().durableEnd - groupBytes(0) - 20;
    machine.powerCut(1);
    machine.disk.flipBit(FIRST, last, 3);
    expect(refusal(machine)).toMatch(/R3: .*a later group says/);
  });

  it('in the last group of a store that was closed, too: the checkpoint knows', () => {
    const machine = filled(5, 20);
    machine.close();
    machine.powerCut(1);
    machine.disk.flipBit(FIRST, 4096 + 19 * groupBytes(297) + 60, 3);
    expect(refusal(machine)).toMatch(/R3: .*the checkpoint says/);
  });

  it('in a segment before the last, too', () => {
    const machine = filled(5, 100);
    machine.powerCut(1);
    machine.disk.erase('snapshot/00000000000000016384');
    for (const path of machine.disk.files()) if (path.startsWith('snapshot/')) machine.disk.erase(path);
    machine.disk.flipBit(FIRST, 9000, 1);
    expect(refusal(machine)).toMatch(`R3: acknowledged data is damaged: ${FIRST} at byte`);
  });

  it('a segment header in the middle of the log, too', () => {
    const machine = filled(5, 150);
    machine.powerCut(1);
    machine.disk.flipBit('log/00000000000000016384', 20, 1);
    expect(refusal(machine)).toMatch('R3: acknowledged data is damaged: log/00000000000000016384');
  });

  it('any flipped bit of the log is refused, or changes nothing', () => {
    const original = filled(6, 12);
    original.kill();
    const { end } = { end: 4096 + 12 * groupBytes(297) };
    const bytes = original.disk.contents(FIRST);
    let refused = 0;
    for (let at = 0; at < end; at += at < 80 || at >= end - 64 ? 1 : 17) {
      const machine = filled(6, 12);
      machine.kill();
      expect(machine.disk.contents(FIRST).equals(bytes)).toBe(true);
      machine.disk.flipBit(FIRST, at, at % 8);
      const { error } = machine.tryOpen();
      if (error !== undefined) {
        refused++;
        expect(error.message).toMatch(/R[036]/);
      } else expect(bodies(machine), `bit ${at % 8} of byte ${at}`).toEqual(numbers(12));
    }
    expect(refused).toBeGreaterThan(200);
  });
});

describe('R4: after a kill only the write in flight may be missing', () => {
  it('a write cut off anywhere is dropped; all before it stays', () => {
    for (let seed = 1; seed < 40; seed++) {
      const machine = filled(seed, 5);
      const last = machine.append('orders', 0, 'cut'.padEnd(400, 'y'));
      machine.until(() => machine.store.info().writes === 6);
      machine.kill();
      const { notes } = machine.open();
      const kept = bodies(machine);
      expect(kept.slice(0, 5)).toEqual(numbers(5));
      expect(last.outcome).toBe('waiting');
      if (kept.length === 5 && notes.length > 0)
        expect(notes[0]).toMatch(/^R4: the write of \d+ bytes at \d+ .* was cut off and is dropped/);
      expect(machine.put('orders', 0, 'next')).toMatchObject({ outcome: 'ok', queueOffset: kept.length });
      machine.kill();
      expect(machine.open().notes).toEqual([]);
    }
  });

  it('a group whose length has rotted is no cut write, whether others follow it or not', () => {
    for (const nth of [0, 1, 2]) {
      for (const bit of [0, 3, 7]) {
        const machine = filled(7, 3, { flush: 'async', syncIntervalMs: 60_000 });
        machine.kill();
        machine.disk.flipBit(FIRST, 4096 + nth * groupBytes(297) + 4, bit);
        expect(refusal(machine), `group ${nth}, bit ${bit}`).toMatch('R3: ');
      }
    }
  });

  it('a kill while a cut write is dropped is no reason to refuse the next start', () => {
    let dropped = 0;
    for (let seed = 1; seed < 80; seed++) {
      const machine = filled(seed, 5);
      machine.append('orders', 0, 'cut'.padEnd(400, 'y'));
      machine.until(() => machine.store.info().writes === 6);
      machine.kill();
      // Killed during each of the writes of recovery, which are cut short in turn.
      for (let nth = 0; nth < 4; nth++) {
        let writes = 0;
        let isOpen = false;
        machine.disk.onCall = (call) => {
          if (call.kind === 'write' && call.path === FIRST && writes++ === nth)
            machine.world.after(call.latencyMs * machine.world.random.unit(), () => machine.kill());
          return undefined;
        };
        machine.begin((error) => {
          if (error !== undefined) throw error;
          isOpen = true;
        });
        machine.until(() => isOpen || machine.process === undefined);
        machine.kill();
        machine.disk.onCall = undefined;
        dropped += isOpen ? 0 : 1;
      }
      machine.open();
      expect(bodies(machine).slice(0, 5)).toEqual(numbers(5));
    }
    expect(dropped).toBeGreaterThan(60);
  });

  it('a complete last group that differs is no cut write and is refused', () => {
    const machine = filled(7, 5);
    machine.kill();
    machine.disk.flipBit(FIRST, 4096 + 4 * groupBytes(297) + 100, 0);
    expect(refusal(machine)).toMatch(/R3: .*the machine has not been restarted since/);
  });
});

describe('R5: after a power cut a torn tail is kept aside and dropped', () => {
  const torn = (machine: Machine): string[] => machine.disk.files().filter((path) => path.endsWith('.torn-1'));

  it('a group with missing sectors goes to quarantine, and a new epoch begins', () => {
    const machine = filled(8, 5);
    const { epoch } = { epoch: 1 };
    machine.powerCut(1);
    const at = 4096 + 4 * groupBytes(297);
    machine.disk.flipBit(FIRST, at + 60, 2);
    const before = machine.disk.contents(FIRST);
    const report = machine.open();
    expect(report.notes).toEqual([expect.stringMatching(/^R5: \d+ bytes after \d+ .* torn; a copy is in quarantine/)]);
    expect(report.epoch).toBe(epoch + 1);
    expect(bodies(machine)).toEqual(numbers(4));
    expect(torn(machine)).toHaveLength(1);
    expect(machine.disk.contents(torn(machine)[0]!).equals(before.subarray(at, at + groupBytes(297)))).toBe(true);
    expect(
      machine.disk
        .contents(FIRST)
        .subarray(at)
        .every((byte) => byte === 0),
    ).toBe(true);
    fill(machine, 3, 4);
    machine.powerCut(0);
    expect(machine.open().notes).toEqual([]);
    expect(bodies(machine)).toEqual(numbers(7));
  });

  it('whatever the length of the file, the longest valid prefix is found', () => {
    const size = groupBytes(297);
    for (let length = 4096; length < 4096 + 4 * size; length += 37) {
      const machine = filled(9, 4);
      machine.powerCut(1);
      machine.disk.overwrite(FIRST, machine.disk.contents(FIRST).subarray(0, length));
      for (const path of ['checkpoint', ...machine.disk.files().filter((name) => name.startsWith('log/0') && name !== FIRST)])
        if (path !== 'checkpoint') machine.disk.erase(path);
      machine.open();
      const whole = Math.floor((length - 4096) / size);
      expect(bodies(machine), `length ${length}`).toEqual(numbers(whole));
      expect(machine.disk.contents(FIRST).length).toBe(16 * 1024);
      fill(machine, 2, whole);
      machine.kill();
      machine.open();
      expect(bodies(machine)).toEqual(numbers(whole + 2));
    }
  });

  it('in asynchronous mode a power cut takes a suffix, a kill takes nothing', () => {
    let lostSomething = 0;
    for (let seed = 1; seed < 30; seed++) {
      const machine = filled(seed, 30, { flush: 'async' });
      machine.kill();
      machine.open();
      expect(bodies(machine)).toEqual(numbers(30));
      fill(machine, 30, 30);
      machine.powerCut();
      machine.open();
      const kept = bodies(machine);
      expect(kept).toEqual(numbers(kept.length));
      expect(kept.length).toBeGreaterThanOrEqual(30);
      if (kept.length < 60) lostSomething++;
    }
    expect(lostSomething).toBeGreaterThan(5);
  });
});

describe('R6: gaps and overlaps are refused', () => {
  it('a missing segment is, by name', () => {
    const machine = filled(10, 150);
    machine.close();
    machine.disk.erase('log/00000000000000016384');
    expect(refusal(machine)).toMatch(/R6: log\/0+32768 begins 16384 bytes after the end of log\/0+;/);
  });

  it('a missing first segment, a missing log, a renamed segment are', () => {
    const first = filled(10, 150);
    first.close();
    for (const path of first.disk.files()) if (path.startsWith('log/0')) first.disk.erase(path);
    expect(refusal(first)).toMatch(/R6: there is a checkpoint or a snapshot but no log/);

    const renamed = filled(10, 20);
    renamed.close();
    const bytes = renamed.disk.contents(FIRST);
    renamed.disk.erase(FIRST);
    renamed.disk.overwrite('log/00000000000000001000', bytes);
    expect(refusal(renamed)).toMatch(/R6: .* says that it begins at 0; it was renamed or copied/);
  });

  it('a file of another name is ignored and reported', () => {
    const machine = filled(10, 3);
    machine.close();
    machine.disk.overwrite('log/notes.txt', Buffer.from('hello'));
    expect(machine.open().notes).toEqual(['log/notes.txt is not ours and was ignored']);
  });
});

describe('R7: a torn header of a new segment', () => {
  it('with no record behind it is put aside, and the segment is made again', () => {
    const machine = filled(11, 20);
    machine.until(() => machine.disk.has('log/00000000000000016384'));
    machine.kill();
    const path = 'log/00000000000000016384';
    expect(
      machine.disk
        .contents(path)
        .subarray(4096)
        .every((byte) => byte === 0),
    ).toBe(true);
    machine.disk.flipBit(path, 50, 1);
    expect(machine.open().notes).toEqual([
      expect.stringMatching(/^R7: the write of \d+ bytes at \d+ .* was cut off and is dropped/),
      expect.stringMatching(
        /^a segment file behind the end of the log, \d+, was moved to quarantine\/00000000000000016384\.segment-1$/,
      ),
    ]);
    expect(machine.disk.files()).toContain('quarantine/00000000000000016384.segment-1');
    expect(bodies(machine)).toEqual(numbers(20));
    fill(machine, 60, 20);
    machine.kill();
    machine.open();
    expect(bodies(machine)).toEqual(numbers(80));
  });
});

describe('R8: an unclean start writes the suffix again before it serves', () => {
  it('so that what a failed sync left in the page cache only is on the disk', () => {
    const machine = new Machine(12);
    machine.disk.writesThrough = false;
    machine.open();
    fill(machine, 5);
    let failing = false;
    machine.disk.onCall = (call) => (failing && call.kind === 'sync' && call.path === FIRST ? 'EIO' : undefined);
    failing = true;
    const lost = machine.put('orders', 0, '5:');
    failing = false;
    expect(lost.outcome).toBe('failed');
    expect(machine.failures).toHaveLength(1);
    machine.run(100);
    machine.kill();
    expect(refusal(machine)).toMatch(/R2: the file FSYNC_FAILED forbids a start/);
    machine.disk.erase('FSYNC_FAILED');
    const report = machine.open();
    expect(report.clean).toBe(false);
    expect(report.rewrittenBytes).toBeGreaterThan(0);
    // Seen by readers from now on, so it has to stay, whatever happens to the power.
    expect(bodies(machine)).toEqual(numbers(6));
    machine.powerCut(0);
    machine.open();
    expect(bodies(machine)).toEqual(numbers(6));
  });

  it('at the same positions', () => {
    const machine = filled(12, 30);
    const before = machine.readAll('orders', 0).map((message) => message.position);
    machine.kill();
    expect(machine.open().rewrittenBytes).toBeGreaterThan(0);
    expect(machine.readAll('orders', 0).map((message) => message.position)).toEqual(before);
  });
});

describe('R9: derived files are made again, never believed when damaged', () => {
  const damage: Record<string, (bytes: Buffer) => Buffer | undefined> = {
    missing: () => undefined,
    empty: () => Buffer.alloc(0),
    'cut off': (bytes) => bytes.subarray(0, bytes.length >> 1),
    zeroed: (bytes) => Buffer.alloc(bytes.length),
    'flipped in the head': (bytes) => flipped(bytes, 30),
    'flipped at the end': (bytes) => flipped(bytes, bytes.length - 1),
  };

  it.each(Object.keys(damage))('index files that are %s', (kind) => {
    const machine = filled(13, 200);
    machine.close();
    const whole = new Map<string, Buffer>();
    for (const path of machine.disk.files().filter((name) => name.startsWith('index/'))) {
      whole.set(path, machine.disk.contents(path));
      const bytes = damage[kind]!(machine.disk.contents(path));
      if (bytes === undefined) machine.disk.erase(path);
      else machine.disk.overwrite(path, bytes);
    }
    expect(whole.size).toBeGreaterThan(2);
    machine.open();
    expect(bodies(machine)).toEqual(numbers(200));
    machine.run(1000);
    machine.close();
    for (const [path, bytes] of whole) expect(machine.disk.contents(path).toString('hex'), path).toBe(bytes.toString('hex'));
  });

  it.each(Object.keys(damage))('the newest snapshot that is %s: an older generation and the log make up for it', (kind) => {
    let tally = new Tally();
    const derived = (): Tally[] => [(tally = new Tally())];
    const machine = new Machine(14, {}, {}, derived);
    machine.open();
    fill(machine, 150);
    machine.close();
    const { sum } = tally;
    const path = machine.disk
      .files()
      .filter((name) => name.startsWith('snapshot/'))
      .pop()!;
    const bytes = damage[kind]!(machine.disk.contents(path));
    if (bytes === undefined) machine.disk.erase(path);
    else machine.disk.overwrite(path, bytes);
    const report = machine.open();
    if (kind !== 'missing') expect(report.notes[0]).toMatch(/^R9: snapshot \d+: .*; an older one is used/);
    expect(tally).toMatchObject({ count: 150, sum });
    expect(bodies(machine)).toEqual(numbers(150));
    expect(machine.put('orders', 0, 'next').queueOffset).toBe(150);
  });

  it('one damaged slot of the checkpoint', () => {
    for (const slot of [0, 4096]) {
      const machine = filled(15, 5);
      machine.close();
      const bytes = machine.disk.contents('checkpoint');
      machine.disk.overwrite('checkpoint', flipped(bytes, slot + 20));
      expect(machine.open().notes[0]).toMatch(`R9: checkpoint slot at ${slot}`);
      expect(bodies(machine)).toEqual(numbers(5));
    }
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 0x10;
  return copy;
}

function crcOf(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
