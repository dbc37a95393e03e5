/** A broker process of an overload run: the broker's core on real sockets and real files, with a slow disk before the files and a meter before the sockets. */
import { mkdirSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { BrokerCore, type GivenBrokerOptions } from '@tallystick/broker';
import { nodeDisk, socketWire, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { configOf, note, serve } from './children.ts';
import { SlowDisk, type DiskMood } from './slow-disk.ts';
import { WireMeter } from './wire-meter.ts';

export interface BrokerConfig {
  readonly folder: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly disk: DiskMood;
  readonly options: GivenBrokerOptions;
}

export interface BrokerReport {
  readonly state: string;
  readonly counters: Readonly<Record<string, unknown>>;
  readonly answers: ReturnType<WireMeter['report']>;
  readonly bytesIn: number;
  readonly disk: { readonly bytes: number; readonly writes: number; readonly syncs: number };
  /** Appended and not yet written: of a pool, not to be read yet. */
  readonly pendingBytes: number;
  /** CPU since the start, ms. */
  readonly cpuMs: number;
}

const { folder, port, disk: mood, options } = configOf<BrokerConfig>();
mkdirSync(folder, { recursive: true });
const disk = new SlowDisk(nodeDisk(folder), mood);
const meter = new WireMeter();
const ports = { disk, clock: systemClock, timers: systemTimers(), turn: systemTurn(), random: systemRandom() };
const early: Socket[] = [];
let accept = (socket: Socket): void => void early.push(socket);
const server = createServer({ pauseOnConnect: true }, (socket) => accept(socket));
await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
const bound = (server.address() as AddressInfo).port;
const core = new BrokerCore(
  ports,
  { ...options, advertise: `127.0.0.1:${bound}` },
  {
    failed: (reason) => {
      // As the command does: whoever comes now finds nobody.
      server.close();
      note({ failed: reason });
    },
  },
);
await new Promise<void>((resolve, reject) => core.start((error) => (error === undefined ? resolve() : reject(error))));
accept = (socket) => {
  core.accept(meter.around(socketWire(socket)));
  socket.resume();
};
for (const socket of early.splice(0)) accept(socket);

serve(
  {
    mood: ({ mood: next }: { mood: Partial<DiskMood> }) => disk.change(next),
    report: (): BrokerReport => {
      const { user, system } = process.cpuUsage();
      return {
        state: core.state,
        counters: Object.fromEntries(Object.entries(core.counters)),
        answers: meter.report(),
        bytesIn: meter.bytesIn,
        disk: { bytes: disk.bytes, writes: disk.writes, syncs: disk.syncs },
        pendingBytes: core.store.info().pendingBytes,
        cpuMs: Math.round((user + system) / 1000),
      };
    },
    reset: () => meter.reset(),
    stop: () => new Promise<void>((resolve) => core.stop(() => resolve())),
  },
  bound,
);
