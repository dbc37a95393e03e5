import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { call, run, type Disk, type DiskError, type DiskFile, type Steps, type Wire } from '../../src/index.ts';
import {
  duplexWire,
  nodeDisk,
  parseAddress,
  socketWire,
  systemClock,
  systemRandom,
  systemTimers,
  systemTurn,
  tcpDialer,
} from '../../src/shell/node-ports.ts';

const done = <T>(steps: () => Steps<T>): Promise<T> =>
  new Promise((resolve, reject) => run(steps, (error, value) => (error === undefined ? resolve(value) : reject(error))));

describe('the real disk', () => {
  let folder: string;
  let disk: Disk;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tallystick-disk-'));
    disk = nodeDisk(folder);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('writes chunks back to back, reads them, knows the size, truncates and syncs', async () => {
    const seen = await done(function* () {
      yield* call((end) => disk.makeFolder('log/deep', end));
      const file = yield* call<DiskFile>((end) => disk.open('log/deep/a', 'create', end));
      yield* call((end) => file.write([Buffer.from('hello '), Buffer.alloc(0), Buffer.from('world')], 2, end));
      yield* call((end) => file.sync(end));
      const size = yield* call<number>((end) => file.size(end));
      const into = Buffer.alloc(20, 46);
      const read = yield* call<number>((end) => file.read(into, 2, end));
      yield* call((end) => file.truncate(4, end));
      const short = yield* call<number>((end) => file.read(Buffer.alloc(10), 0, end));
      const none = yield* call<number>((end) => file.read(Buffer.alloc(10), 100, end));
      yield* call((end) => file.close(end));
      yield* call((end) => disk.rename('log/deep/a', 'log/deep/b', end));
      yield* call((end) => disk.syncFolder('log/deep', end));
      const names = yield* call<readonly string[]>((end) => disk.list('log/deep', end));
      yield* call((end) => disk.remove('log/deep/b', end));
      const after = yield* call<readonly string[]>((end) => disk.list('log/deep', end));
      return { size, read, text: into.toString(), short, none, names, after };
    });
    expect(seen).toEqual({ size: 13, read: 11, text: 'hello world.........', short: 4, none: 0, names: ['b'], after: [] });
  });

  it('allocates a file without writing it, and says when it cannot', async () => {
    const allocated = (path: string, bytes: number): Promise<boolean> =>
      new Promise((resolve) => disk.allocate!(path, bytes, resolve));
    const kept = process.env['PATH'];
    writeFileSync(join(folder, 'a'), '');
    // Some file systems cannot.
    const can = spawnSync('fallocate', ['-l', '4096', join(folder, 'probe')]).status === 0;
    const bytes = can ? 1024 * 1024 : 0;
    expect(await allocated('a', 1024 * 1024)).toBe(can);
    const { size, blocks } = statSync(join(folder, 'a'));
    expect([size, blocks * 512 >= size]).toEqual([bytes, true]);
    expect(readFileSync(join(folder, 'a')).every((byte) => byte === 0)).toBe(true);
    expect(await allocated('no-folder/a', 1024)).toBe(false);
    process.env['PATH'] = folder;
    try {
      expect(await allocated('a', 2 * 1024 * 1024)).toBe(false);
    } finally {
      process.env['PATH'] = kept;
    }
    expect(statSync(join(folder, 'a')).size).toBe(bytes);
  });

  it('writes through, also while the second descriptor is not open yet and after the file was renamed; only the newest file has one', async () => {
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    /** Opening and closing the second descriptor is waited for by nobody. */
    const settled = function* (open: number): Steps<number> {
      for (let n = 0; n < 1000 && descriptors() - before !== open; n++) yield* call((end) => disk.list('', () => end(undefined)));
      return descriptors() - before;
    };
    const seen = await done(function* () {
      const open: number[] = [];
      const file = yield* call<DiskFile>((end) => disk.open('made', 'create', end));
      yield* call((end) => disk.rename('made', 'named', end));
      const other = yield* call<DiskFile>((end) => disk.open('other', 'create', end));
      for (const each of [file, other, file]) {
        for (let n = 0; n < 4; n++) {
          yield* call((end) => each.writeThrough!([Buffer.from(`${n}`), Buffer.from('-')], 2 * n, end));
          if (n === 0) open.push(yield* settled(3));
        }
      }
      yield* call((end) => file.close(end));
      yield* call((end) => other.close(end));
      const texts = ['named', 'other'].map((name) => readFileSync(join(folder, name), 'utf8'));
      return { open, after: yield* settled(0), texts };
    });
    expect(seen).toEqual({ open: [3, 3, 3], after: 0, texts: ['0-1-2-3-', '0-1-2-3-'] });
  });

  it('writes more chunks than one system call takes', async () => {
    const chunks = Array.from({ length: 3000 }, (_, n) => Buffer.from(String(n % 10)));
    const text = await done(function* () {
      const file = yield* call<DiskFile>((end) => disk.open('many', 'create', end));
      yield* call((end) => file.write(chunks, 0, end));
      const into = Buffer.alloc(3000);
      yield* call<number>((end) => file.read(into, 0, end));
      yield* call((end) => file.close(end));
      return into.toString();
    });
    expect(text).toBe(Buffer.concat(chunks).toString());
  });

  it('reports an absent file as ENOENT and lists an absent folder as empty', async () => {
    const error = await new Promise<DiskError | undefined>((resolve) => disk.open('none', 'open', (found) => resolve(found)));
    expect(error?.code).toBe('ENOENT');
    expect(await done(() => call<readonly string[]>((end) => disk.list('none', end)))).toEqual([]);
  });

  it('truncates on create and keeps on open', async () => {
    writeFileSync(join(folder, 'f'), 'content');
    const sizes = await done(function* () {
      const kept = yield* call<DiskFile>((end) => disk.open('f', 'open', end));
      const before = yield* call<number>((end) => kept.size(end));
      const made = yield* call<DiskFile>((end) => disk.open('f', 'create', end));
      const after = yield* call<number>((end) => made.size(end));
      yield* call((end) => kept.close(end));
      yield* call((end) => made.close(end));
      return [before, after];
    });
    expect(sizes).toEqual([7, 0]);
    expect(disk.bootId()).toBe(nodeDisk(folder).bootId());
  });

  it('tells how much of its file system is free', async () => {
    const { free, total } = await new Promise<{ free: number; total: number }>((resolve, reject) =>
      nodeDisk(folder).space!((error, free, total) =>
        error === undefined ? resolve({ free, total }) : reject(new Error(error.message)),
      ),
    );
    expect(free).toBeGreaterThan(0);
    expect(total).toBeGreaterThanOrEqual(free);
    const missing = await new Promise<string | undefined>((resolve) =>
      nodeDisk(`${folder}/none`).space!((error) => resolve(error?.code)),
    );
    expect(missing).toBe('ENOENT');
  });
});

describe('the real wires', () => {
  let server: Server | undefined;

  afterEach(() => new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve()))));

  function listen(onWire: (wire: Wire) => void): Promise<string> {
    return new Promise((resolve) => {
      server = createServer((socket) => onWire(socketWire(socket)));
      server.listen(0, '127.0.0.1', () => resolve(`127.0.0.1:${(server!.address() as AddressInfo).port}`));
    });
  }

  const dial = (address: string, timeoutMs?: number): Promise<Wire> =>
    new Promise((resolve, reject) =>
      tcpDialer({ timeoutMs }).dial(address, (error, wire) => (error === undefined ? resolve(wire) : reject(new Error(error)))),
    );

  it('carry bytes over TCP both ways and deliver what was written before a graceful close', async () => {
    const address = await listen((wire) => {
      let text = '';
      wire.onBytes = (chunk) => {
        text += Buffer.from(chunk).toString();
        if (!text.endsWith('!')) return;
        wire.write(Buffer.from(`echo `));
        wire.write(Buffer.from(text));
        wire.close(true);
      };
    });
    const wire = await dial(address);
    expect(wire.remote).toBe(address);
    const heard = await new Promise<string>((resolve) => {
      let text = '';
      wire.onBytes = (chunk) => (text += Buffer.from(chunk).toString());
      wire.onClose = (reason) => resolve(`${text} (${reason})`);
      wire.write(Buffer.from('hi'));
      wire.write(Buffer.from('!'));
    });
    expect(heard).toBe('echo hi! (closed by the other side)');
    expect(wire.write(Buffer.from('x'))).toBe(false);
  });

  it('tell a paused writer when to go on', async () => {
    let far = undefined as Wire | undefined;
    const address = await listen((wire) => {
      far = wire;
      wire.pause();
    });
    const near = await dial(address);
    // More than both kernels' buffers hold.
    for (let n = 0; n < 64; n++) near.write(Buffer.alloc(1024 * 1024));
    expect(near.write(Buffer.alloc(1024 * 1024))).toBe(false);
    expect(near.isWritten?.()).toBe(false);
    const unsent = near.unsentBytes!();
    expect(unsent).toBeGreaterThan(16 * 1024 * 1024);
    expect(unsent).toBeLessThan(65 * 1024 * 1024);
    const drained = new Promise<void>((resolve) => (near.onDrain = resolve));
    while (far === undefined) await new Promise((resolve) => systemTurn().atEnd(() => resolve(undefined)));
    let bytes = 0;
    far.onBytes = (chunk) => (bytes += chunk.length);
    far.resume();
    await drained;
    expect(near.isWritten?.()).toBe(true);
    expect(near.unsentBytes!()).toBe(0);
    expect(bytes).toBeGreaterThan(0);
    const closed = new Promise<string>((resolve) => (near.onClose = resolve));
    near.close(false);
    expect(await closed).toBe('closed here');
  });

  it('say why there is no connection', async () => {
    const address = await listen(() => {});
    await new Promise<void>((resolve) => server!.close(() => resolve()));
    server = undefined;
    await expect(dial(address)).rejects.toThrow(`cannot connect to ${address}: connect ECONNREFUSED`);
    const port = address.split(':')[1]!;
    await expect(dial(`localhost:${port}`)).rejects.toThrow(/localhost:\d+: .*connect ECONNREFUSED/);
    await expect(dial('nonsense')).rejects.toThrow('"nonsense" is not host:port');
  });

  it('tell how much the other side has taken of a write that is under way', async () => {
    let far = undefined as Wire | undefined;
    const address = await listen((wire) => {
      far = wire;
      wire.pause();
    });
    const near = await dial(address);
    near.write(Buffer.alloc(64 * 1024 * 1024));
    while (far === undefined) await new Promise((resolve) => systemTurn().atEnd(() => resolve(undefined)));
    const before = near.unsentBytes!();
    const isHalf = new Promise<void>((resolve) => {
      let bytes = 0;
      far!.onBytes = (chunk) => {
        bytes += chunk.length;
        if (bytes < 32 * 1024 * 1024) return;
        far!.pause();
        resolve();
      };
    });
    far.resume();
    await isHalf;
    expect(near.unsentBytes!()).toBeLessThan(before - 16 * 1024 * 1024);
    expect(near.unsentBytes!()).toBeGreaterThan(0);
    expect(near.isWritten?.()).toBe(false);
    near.close(false);
    far.close(false);
  });

  it('adapt any Duplex and pass on its error as the reason', async () => {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, next) => next() });
    const wire = duplexWire(duplex);
    // What it does with what it was given is not known.
    expect('isWritten' in wire).toBe(false);
    const closed = new Promise<string>((resolve) => (wire.onClose = resolve));
    duplex.destroy(new Error('cable pulled'));
    expect(await closed).toBe('cable pulled');
  });

  it.each([
    ['127.0.0.1:9876', { host: '127.0.0.1', port: 9876 }],
    ['broker:1', { host: 'broker', port: 1 }],
    ['[::1]:10911', { host: '::1', port: 10911 }],
    ['::1:10911', undefined],
    ['host:65536', undefined],
    ['host', undefined],
  ])('read the address %s', (text, wanted) => {
    expect(parseAddress(text)).toEqual(wanted);
  });
});

describe('real time', () => {
  it('ends a turn in order, later requests after earlier ones, and lets the loop go on when they never end', async () => {
    const turn = systemTurn();
    const log: string[] = [];
    turn.atEnd(() => {
      log.push('first');
      turn.atEnd(() => log.push('third'));
    });
    turn.atEnd(() => log.push('second'));
    expect(log).toEqual([]);
    let running = true;
    const again = (): void => void (running && turn.atEnd(again));
    again();
    // The timers' phase comes round although somebody asks in every turn; after a pause of the machine, even before the first turn.
    while (log.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    running = false;
    expect(log).toEqual(['first', 'second', 'third']);
  });

  it('ends the turn for the others when one of them throws', async () => {
    const script = `
      import { systemTurn } from ${JSON.stringify(new URL('../../src/shell/node-time.ts', import.meta.url).href)};
      process.on('uncaughtException', (error) => console.log('caught', error.message));
      const turn = systemTurn();
      turn.atEnd(() => { throw new Error('mine'); });
      turn.atEnd(() => { console.log('others run'); turn.atEnd(() => console.log('and go on')); });`;
    const hooks = new URL('../../../cli/bin/sources.js', import.meta.url).href;
    const out = await new Promise<string>((resolve, reject) =>
      execFile(process.execPath, ['--import', hooks, '--input-type=module', '-e', script], (error, stdout) =>
        error ? reject(error) : resolve(stdout),
      ),
    );
    expect(out).toBe('caught mine\nothers run\nand go on\n');
  });

  it('runs timers unless cancelled, and the clock does not go back', async () => {
    const timers = systemTimers({ unref: false });
    const before = systemClock.monotonic();
    const cancelled = timers.after(1, () => expect.unreachable());
    timers.cancel(cancelled);
    await new Promise<void>((resolve) => void timers.after(3, resolve));
    expect(systemClock.monotonic()).toBeGreaterThan(before);
    expect(systemClock.now()).toBeGreaterThan(1_600_000_000_000);
  });

  it('has random numbers over the whole range', () => {
    const random = systemRandom();
    const numbers = Array.from({ length: 5000 }, () => random.u32());
    expect(numbers.every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32)).toBe(true);
    expect(new Set(numbers).size).toBeGreaterThan(4990);
    expect(Math.max(...numbers)).toBeGreaterThan(2 ** 31);
  });
});
