/**
 * `npm run powercut`: a real power cut under a real broker. Per cycle: broker on a loop-mounted ext4, load from our client, then
 * SIGSTOP (it acknowledges nothing more), drain the acknowledgements on their way, cut the power, SIGKILL, mount again, start the
 * broker, and read: every acknowledged message must be there. The order matters: acknowledgements that arrive while the power goes
 * would look lost. A build that acknowledges before the sync is the control: it must lose, or the cut was none.
 *
 *   npm run powercut -- [--cycles 10] [--seed 1] [--required]      --required: a machine that cannot do this is a failure
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BrokerProcess, freePort } from '../process/broker-process.ts';
import { Acknowledged, Load, missing } from './load.ts';
import { LoopDisk, whyImpossible } from './loop-disk.ts';

interface Figures {
  cycles: number;
  acknowledged: number;
  lost: number;
  /** Starts refused by recovery, with its words. */
  refused: string[];
}

const diskMebibytes = 1024;
const controlCycles = 3;
const preload = fileURLToPath(new URL('./preload.js', import.meta.url));
const bin = fileURLToPath(new URL('../../packages/cli/bin/tallystick.js', import.meta.url));

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    required: { type: 'boolean', default: false },
  },
});

const impossible = whyImpossible();
if (impossible === undefined) await main();
else {
  console.log(`power cut: SKIPPED, this machine cannot do it (root, xfs_io and mkfs.ext4 are needed): ${impossible}`);
  if (values.required) process.exitCode = 1;
}

async function main(): Promise<void> {
  const began = Date.now();
  const random = seeded(Number(values.seed));
  const real = await cycles(Number(values.cycles), 'real', random);
  const control = await cycles(controlCycles, 'ack before sync', random);
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  console.log(`power cut: ${words(real)}; control (acknowledges before the sync): ${words(control)}; ${seconds} s`);
  if (real.lost > 0 || real.refused.length > 0 || real.acknowledged === 0) process.exitCode = 1;
  if (control.lost === 0 && control.refused.length === 0) {
    console.log('the control lost nothing: these cuts prove nothing');
    process.exitCode = 1;
  }
  if (process.exitCode === 1) console.log(`again: npm run powercut -- --cycles ${values.cycles} --seed ${values.seed}`);
  // Sockets of clients whose broker was killed may linger.
  process.exit();
}

async function cycles(
  cyclesWanted: number,
  build: 'real' | 'ack before sync',
  random: (below: number) => number,
): Promise<Figures> {
  const figures: Figures = { cycles: 0, acknowledged: 0, lost: 0, refused: [] };
  const disk = LoopDisk.make(diskMebibytes);
  const data = join(disk.folder, 'data');
  const port = await freePort();
  let acknowledged = new Acknowledged();
  const start = (boot: number): Promise<BrokerProcess> => {
    return BrokerProcess.start({
      data,
      port,
      flags: ['--segment-bytes', String(4 * 1024 * 1024)],
      command: [process.execPath, '--import', preload, bin],
      environment: { BOOT_ID: `boot-${boot}`, ...(build === 'real' ? {} : { ACK_BEFORE_SYNC: '1' }) },
    });
  };
  let broker: BrokerProcess | undefined = await start(0);
  try {
    for (let cycle = 1; cycle <= cyclesWanted; cycle++) {
      const load = new Load(broker.address, acknowledged, `${build}:${cycle}`);
      const before = acknowledged.count;
      await load.until(200 + random(6_000));
      broker.child.kill('SIGSTOP');
      await load.drain();
      disk.cut();
      await broker.end('SIGKILL');
      await load.close();
      disk.unmount();
      disk.mount();
      figures.cycles++;
      const count = acknowledged.count - before;
      figures.acknowledged += count;
      let outcome: string;
      try {
        broker = await start(cycle);
        const lost = await missing(broker.address, acknowledged, `reader-${cycle}`);
        figures.lost += lost.length;
        outcome = lost.length === 0 ? `all ${acknowledged.count} are there` : `LOST ${lost.length}, the first ${lost[0]}`;
        if (lost.length > 0) acknowledged = new Acknowledged();
      } catch (error) {
        outcome = `the start was REFUSED: ${error instanceof Error ? error.message.split('\n')[1] : String(error)}`;
        figures.refused.push(outcome);
        rmSync(data, { recursive: true, force: true });
        acknowledged = new Acknowledged();
        broker = await start(cycle);
      }
      console.log(`${build === 'real' ? 'cut' : 'control'} ${cycle}: ${count} acknowledged, ${outcome}`);
    }
  } finally {
    await broker?.end('SIGKILL');
    disk.remove();
  }
  return figures;
}

function words({ cycles: done, acknowledged, lost, refused }: Figures): string {
  return `${done} cuts, ${acknowledged} acknowledged, ${lost} lost${refused.length > 0 ? `, ${refused.length} starts refused` : ''}`;
}

/** A small generator (mulberry32): the cut comes after a number of acknowledgements drawn from the seed. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
