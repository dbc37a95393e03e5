/**
 * The cost of the broker's own code per message, without sockets and without a disk: frames come out of memory, log writes are
 * answered at once and thrown away. Prints the cheapest and the median of many short slices, so that it can be used on a busy machine.
 *
 *     node --import ./packages/cli/bin/sources.js packages/broker/bench/path.ts [--kind single|batch|half] [--header binary|json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Disk, DiskFile, Wire } from '@tallystick/base';
import { nodeDisk, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { BrokerCore } from '@tallystick/broker';
import { LoadFrames, type LoadKind } from './load-frames.ts';

const { values: flags } = parseArgs({
  options: {
    kind: { type: 'string', default: 'single' },
    header: { type: 'string', default: 'binary' },
    bytes: { type: 'string', default: '100' },
    window: { type: 'string', default: '512' },
    slices: { type: 'string', default: '300' },
  },
});
const window = Number(flags.window);
const frames = new LoadFrames(flags.kind as LoadKind, flags.header === 'json' ? 'json' : 'binary', Number(flags.bytes), window);
const folder = mkdtempSync(join(tmpdir(), 'tallystick-path-'));
const turn = systemTurn();
const core = new BrokerCore(
  { disk: forgetful(nodeDisk(folder)), clock: systemClock, timers: systemTimers(), turn, random: systemRandom() },
  { flush: 'async', segmentBytes: 1024 * 1024 * 1024, snapshotsKept: 2 },
);
core.start((error) => {
  if (error !== undefined) throw error;
  void measure();
});

async function measure(): Promise<void> {
  const wire = memoryWire();
  core.accept(wire);
  const micros: number[] = [];
  let answered = 0;
  let sent = 0;
  let own = 0;
  wire.take = (chunk) => {
    const began = process.cpuUsage();
    const count = frames.answers(chunk, (bytes) => later.push(bytes));
    if (typeof count === 'string') throw new Error(count);
    answered += count;
    const spent = process.cpuUsage(began);
    own += spent.user + spent.system;
  };
  const later: Buffer[] = [];
  const bytes = Buffer.allocUnsafe(64 * 1024 * 1024);
  for (let slice = 0; slice < Number(flags.slices); slice++) {
    let messages = 0;
    let spent = 0;
    while (messages < 20_000) {
      let length = 0;
      const put = (chunk: Buffer): void => void (length += chunk.copy(bytes, length));
      for (const chunk of later.splice(0)) put(chunk);
      frames.next(window, put);
      sent += window;
      own = 0;
      const began = process.cpuUsage();
      for (let at = 0; at < length; at += CHUNK_BYTES) wire.onBytes(bytes.subarray(at, Math.min(length, at + CHUNK_BYTES)));
      while (answered < sent) await new Promise((resolve) => setImmediate(resolve));
      const used = process.cpuUsage(began);
      spent += used.user + used.system - own;
      messages += window * frames.messagesPerFrame;
    }
    micros.push(spent / messages);
  }
  micros.splice(0, micros.length / 4);
  micros.sort((a, b) => a - b);
  console.log(
    `${flags.kind} ${flags.header} ${flags.bytes} B: ${micros[0]!.toFixed(3)} µs at best, median ${micros[micros.length >> 1]!.toFixed(3)}`,
  );
  core.stop(() => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(0);
  });
}

const CHUNK_BYTES = 64 * 1024;

interface MemoryWire extends Wire {
  take: (chunk: Buffer) => void;
}

function memoryWire(): MemoryWire {
  return {
    remote: '127.0.0.1:5555',
    take: () => {},
    onBytes: () => {},
    onDrain: () => {},
    onClose: () => {},
    write(chunk) {
      this.take(chunk as Buffer);
      return true;
    },
    isWritten: () => true,
    close: () => {},
    pause: () => {},
    resume: () => {},
  };
}

/** A disk that keeps what is small and throws log writes away. */
function forgetful(disk: Disk): Disk {
  return {
    ...disk,
    open: (path, mode, done) =>
      disk.open(path, mode, (error, file) => done(error, error === undefined && path.startsWith('log/') ? blind(file) : file)),
  };
}

function blind(file: DiskFile): DiskFile {
  return {
    path: file.path,
    write: (_chunks, _position, done) => turn.atEnd(() => done(undefined)),
    read: (into, position, done) => file.read(into, position, done),
    sync: (done) => turn.atEnd(() => done(undefined)),
    size: (done) => file.size(done),
    truncate: (bytes, done) => file.truncate(bytes, done),
    close: (done) => file.close(done),
  };
}
