/** The shipped broker on the lossy disk, for the demo's power cuts: the same core, with another disk in the same port. */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { nodeDisk, socketWire, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { BrokerCore, type GivenBrokerOptions, type RecoveryReport } from '@tallystick/broker';
import { lossyDisk } from './lossy-disk.ts';

export interface LossyBrokerOptions {
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  readonly settings: GivenBrokerOptions;
}

export async function startOnLossyDisk(
  { host, port, dataDir, settings }: LossyBrokerOptions,
  forgets: () => boolean,
  failed: (reason: string) => void,
): Promise<{ address: string; recovery: RecoveryReport; stop: () => Promise<void> }> {
  mkdirSync(dataDir, { recursive: true });
  const timers = systemTimers();
  const disk = lossyDisk(nodeDisk(dataDir), timers, forgets);
  const server = createServer((socket) => core.accept(socketWire(socket)));
  const address = `${host}:${port}`;
  const ports = { disk, clock: systemClock, timers, turn: systemTurn(), random: systemRandom() };
  const core = new BrokerCore(ports, { ...settings, advertise: address }, { failed });
  await new Promise<void>((resolve, reject) => core.start((error) => (error === undefined ? resolve() : reject(error))));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve());
  });
  return {
    address,
    recovery: core.recovery,
    stop: async () => {
      server.close();
      await new Promise<void>((resolve, reject) => core.stop((error) => (error === undefined ? resolve() : reject(error))));
    },
  };
}
