/**
 * `npm run powercut`: a real power cut under a real broker. Per cycle: broker on a loop-mounted ext4, load from our client, then
 * SIGSTOP (it acknowledges nothing more), drain the acknowledgements on their way, cut the power, SIGKILL, mount again, start the
 * broker, and read: every acknowledged message must be there. The order matters: acknowledgements that arrive while the power goes
 * would look lost. With `--flush async` plain messages may be lost, committed transactions may not. Builds that acknowledge before
 * the sync are the controls, with few and with many messages in flight: each must lose, or the cuts prove nothing.
 *
 *   npm run powercut -- [--cycles 10] [--seed 1] [--required]      --required: a machine that cannot do this is a failure
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Random } from '@tallystick/base';
import { seededRandom } from '@tallystick/base/testing';
import { BrokerProcess } from '../process/broker-process.ts';
import { asked, wholeNumber } from '../process/command-line.ts';
import { Acknowledged, Load, missing } from './load.ts';
import { LoopDisk, whyImpossible } from './loop-disk.ts';

interface Build {
  name: string;
  flags: readonly string[];
  environment: Readonly<Record<string, string>>;
  /** Acknowledged messages outside transactions may be missing. */
  plainMayBeLost: boolean;
  /** Plain messages in flight at most, cycle by cycle in turn: with few of them each write of the log carries its own sync. */
  inFlight: readonly number[];
}

const FEW = 3;
const MANY = 256;

const sync: Build = { name: 'sync', flags: [], environment: {}, plainMayBeLost: false, inFlight: [MANY, FEW] };
const async: Build = { name: 'async', flags: ['--flush', 'async'], environment: {}, plainMayBeLost: true, inFlight: [MANY] };
const controls: readonly Build[] = [FEW, MANY].map((inFlight) => ({
  name: `control, ${inFlight} in flight`,
  flags: [],
  environment: { ACK_BEFORE_SYNC: '1' },
  plainMayBeLost: false,
  inFlight: [inFlight],
}));

interface Figures {
  cuts: number;
  acknowledged: number;
  /** Acknowledged, promised and not there. */
  lost: number;
  /** Acknowledged and not there, as `flush async` may. */
  allowed: number;
  /** Starts that recovery refused. */
  refused: number;
}

const diskMebibytes = 1024;
const segmentBytes = 4 * 1024 * 1024;
/** The power goes when seeded numbers of plain messages and of transactions, between these, have been acknowledged in a cycle. */
const plainMin = 200;
const plainMax = 10_000;
const commitsMin = 2;
const commitsMax = 8;
const asyncCycles = 3;
/** A control ends with its first loss. */
const controlCyclesMax = 6;
const preload = fileURLToPath(new URL('./preload.js', import.meta.url));
const bin = fileURLToPath(new URL('../../packages/cli/bin/tallystick.js', import.meta.url));

const command = { file: import.meta.url };
const values = asked(command, {
  cycles: { type: 'string', default: '10' },
  seed: { type: 'string', default: '1' },
  required: { type: 'boolean', default: false },
});
const cyclesWanted = wholeNumber(command, '--cycles', values.cycles, 1);

const impossible = whyImpossible();
if (impossible === undefined) await main();
else {
  console.log(`power cut: SKIPPED, this machine cannot do it (root, xfs_io and mkfs.ext4 are needed): ${impossible}`);
  if (values.required) process.exitCode = 1;
}

async function main(): Promise<void> {
  const began = Date.now();
  const random = seededRandom(wholeNumber(command, '--seed', values.seed));
  const real = await cycles(sync, cyclesWanted, random);
  const fast = await cycles(async, asyncCycles, random);
  const early: Figures[] = [];
  for (const control of controls) early.push(await cycles(control, controlCyclesMax, random));
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  console.log(
    `power cut: ${words(real)}; flush async: ${words(fast)}; controls (acknowledge before the sync): ${early.map(words).join('; ')}; ${seconds} s`,
  );
  const broken = [real, fast].some(({ lost, refused, acknowledged }) => lost > 0 || refused > 0 || acknowledged === 0);
  const blind = early.some(({ lost, refused }) => lost === 0 && refused === 0);
  if (blind) console.log('a control lost nothing: these cuts prove nothing');
  if (broken || blind) console.log(`again: npm run powercut -- --cycles ${values.cycles} --seed ${values.seed}`);
  // Sockets of clients whose broker was killed may linger.
  process.exit(broken || blind ? 1 : 0);
}

async function cycles(build: Build, count: number, random: Random): Promise<Figures> {
  const figures: Figures = { cuts: 0, acknowledged: 0, lost: 0, allowed: 0, refused: 0 };
  const disk = LoopDisk.make(diskMebibytes);
  const data = join(disk.folder, 'data');
  const start = (boot: number): Promise<BrokerProcess> =>
    BrokerProcess.start({
      data,
      flags: ['--segment-bytes', String(segmentBytes), ...build.flags],
      command: [process.execPath, '--import', preload, bin],
      environment: { ...build.environment, BOOT_ID: `boot-${boot}` },
    });
  let acknowledged = new Acknowledged();
  let broker: BrokerProcess | undefined;
  try {
    broker = await start(0);
    for (let cycle = 1; cycle <= count && !(controls.includes(build) && figures.lost + figures.refused > 0); cycle++) {
      const before = { all: acknowledged.count, commits: acknowledged.commits.size };
      const load = new Load(
        broker.address,
        acknowledged,
        `${build.name}:${cycle}`,
        build.inFlight[cycle % build.inFlight.length]!,
      );
      await load.until(between(random, plainMin, plainMax), between(random, commitsMin, commitsMax));
      broker.child.kill('SIGSTOP');
      await load.drain();
      disk.cut();
      await broker.end('SIGKILL');
      await load.close();
      disk.unmount();
      disk.mount();
      figures.cuts++;
      const added = acknowledged.count - before.all;
      const commits = acknowledged.commits.size - before.commits;
      figures.acknowledged += added;
      let outcome: string;
      try {
        broker = await start(cycle);
        const gone = await missing(broker.address, acknowledged, `reader-${cycle}`);
        const lost = build.plainMayBeLost ? gone.commits : [...gone.plain, ...gone.commits];
        figures.lost += lost.length;
        figures.allowed += gone.plain.length + gone.commits.length - lost.length;
        outcome =
          lost.length === 0
            ? `all ${acknowledged.count - gone.plain.length} are there`
            : `LOST ${lost.length}, the first ${lost[0]}`;
        if (gone.plain.length > 0) acknowledged = new Acknowledged();
      } catch (error) {
        outcome = `the start was REFUSED: ${error instanceof Error ? error.message : String(error)}`;
        figures.refused++;
        rmSync(data, { recursive: true, force: true });
        acknowledged = new Acknowledged();
        broker = await start(cycle);
      }
      console.log(`${build.name} ${cycle}: ${added} acknowledged (${commits} of them transactions), ${outcome}`);
    }
  } finally {
    await broker?.end('SIGKILL');
    disk.remove();
  }
  return figures;
}

function between(random: Random, low: number, high: number): number {
  return low + (random.u32() % (high - low + 1));
}

function words({ cuts, acknowledged, lost, allowed, refused }: Figures): string {
  const more = [allowed > 0 ? `, ${allowed} others not there` : '', refused > 0 ? `, ${refused} starts refused` : ''];
  return `${cuts} cuts, ${acknowledged} acknowledged, ${lost} lost${more.join('')}`;
}
