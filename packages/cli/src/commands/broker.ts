/**
 * `tallystick broker`: a broker with its name server on one port. It says where it listens, where the data lies and whether that survives, and what a crash can
 * cost; then it serves until SIGTERM or SIGINT, answers what it has taken, and ends with 0. A store that fails ends it with 70.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { GivenBrokerOptions, RecoveryReport } from '@tallystick/broker';
import { Option, type Command } from 'commander';
import { addresses, integer, integers } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import type { ToChild, ToParent } from '../demo/child.ts';

interface BrokerFlags {
  readonly port: number;
  readonly host: string;
  readonly data?: string;
  readonly brokerName?: string;
  readonly clusterName?: string;
  readonly advertise?: string;
  readonly nameServer?: string;
  readonly insecure?: true;
  readonly flush: 'sync' | 'async';
  readonly transientStorePool?: true;
  readonly checkAfter?: number;
  readonly checkInterval?: number;
  readonly checkMax?: number;
  readonly delayLevels?: number[];
  readonly segmentBytes?: number;
  readonly json?: true;
  readonly loseUnsynced?: true;
  readonly ackBeforeSync?: true;
}

export function addBroker(program: Command): void {
  program
    .command('broker')
    .description('serves a broker and its name server on one port')
    .option('--port <n>', 'port, 0 for a free one', integer(0, 65_535), 9876)
    .option('--host <address>', 'address to listen on; other than loopback only with --insecure', '127.0.0.1')
    .option('--insecure', 'allow an address that others can reach, without authentication')
    .option('--data <dir>', 'folder of the store (default: a temporary one, removed at the end)')
    .option(
      '--broker-name <name>',
      'name in routes, kept in the store; brokers of one name server need different ones (default: broker-a)',
    )
    .option('--cluster-name <name>', 'name of the cluster, kept in the store (default: DefaultCluster)')
    .option('--advertise <ip:port>', 'where clients are told to find this broker (default: where it listens)')
    .option('--name-server <host:port,…>', "also register at these name servers, ours or Apache RocketMQ's", addresses)
    .addOption(
      new Option('--flush <mode>', 'sync: acknowledge what is on the disk; async: what is written')
        .choices(['sync', 'async'])
        .default('sync'),
    )
    .option('--transient-store-pool', 'with --flush async: acknowledge what lies in a buffer in RAM, write it a moment later')
    .option('--check-after <ms>', 'age at which an unsettled half message is asked about (default: 6000)', integer(0))
    .option('--check-interval <ms>', 'time between two rounds of check-backs (default: 30000)', integer(1))
    .option('--check-max <n>', 'check-backs before a half message is parked (default: 15)', integer(1, 250))
    .option('--delay-levels <ms,…>', 'delays of the levels, the first is level 1 (default: 18 levels, 1 s to 2 h)', integers(1))
    .option('--segment-bytes <n>', 'size of a log segment (default: 67108864)', integer(65_536, 1_073_741_824))
    .option('--json', 'prints events as JSON lines')
    .addOption(new Option('--lose-unsynced').hideHelp())
    .addOption(new Option('--ack-before-sync').hideHelp())
    .action(serve);
}

async function serve(flags: BrokerFlags): Promise<void> {
  const ending = signalled();
  const temporary = flags.data === undefined;
  const data = flags.data === undefined ? mkdtempSync(join(tmpdir(), 'tallystick-broker-')) : resolve(flags.data);
  const { startBroker } = await import('../broker-server.ts');
  const removeTemporary = (): void => {
    if (temporary) rmSync(data, { recursive: true, force: true });
  };
  const broker = await startBroker({
    host: flags.host,
    port: flags.port,
    dataDir: data,
    insecure: flags.insecure === true,
    lossy: flags.loseUnsynced === true ? { forgets: flags.ackBeforeSync === true ? forgetWhenTold() : () => false } : undefined,
    settings: settingsOf(flags),
  }).catch((error: unknown) => {
    removeTemporary();
    throw error;
  });
  const { address, recovery } = broker;
  const banner = { address, data, survives: !temporary, flush: flags.flush, lossWindow: lossWindow(flags), recovery };
  if (flags.json) console.log(JSON.stringify({ event: 'ready', pid: process.pid, ...banner }));
  else console.log(bannerText(banner, flags));
  const ended = await Promise.race([ending, broker.failed]);
  if (typeof ended === 'string')
    throw new CliError(
      `the store in ${data} failed: ${ended}`,
      'nothing is acknowledged any more; look at the disk and start again',
      'internal',
    );
  await broker.stop();
  removeTemporary();
  if (flags.json) console.log(JSON.stringify({ event: 'stopped' }));
}

/** Options of the broker that were given on the command line; the rest keep their defaults. */
function settingsOf(flags: BrokerFlags): GivenBrokerOptions {
  const given = {
    brokerName: flags.brokerName,
    clusterName: flags.clusterName,
    advertise: flags.advertise,
    nameServers: flags.nameServer,
    flush: flags.flush,
    transientStorePoolEnable: flags.transientStorePool,
    checkAfterMs: flags.checkAfter,
    checkIntervalMs: flags.checkInterval,
    checkMax: flags.checkMax,
    delayLevelsMs: flags.delayLevels,
    segmentBytes: flags.segmentBytes,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The demo's defect ack-before-sync begins when its parent says so, after the store has been laid out. */
function forgetWhenTold(): () => boolean {
  let told = false;
  process.on('message', (message: ToChild) => {
    if (message.type !== 'forget') return;
    told = true;
    process.send?.({ type: 'disk-forgets' } satisfies ToParent);
  });
  return () => told;
}

/** A supervisor that holds an IPC channel and dies takes the broker with it. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.on('disconnect', () => resolve());
    // Ctrl-C reaches everyone in the terminal's foreground; under a supervisor only it decides.
    if (process.send === undefined) process.once('SIGINT', () => resolve());
    else process.on('SIGINT', () => {});
  });
}

function lossWindow({ flush, transientStorePool }: BrokerFlags): string {
  if (flush === 'sync') return 'none: an acknowledged message is on the disk';
  return transientStorePool === true
    ? 'a killed process can cost the last 200 ms, at most 20 MiB, a power cut the last 400 ms, at most 84 MiB; halves, confirmations and offsets excepted'
    : 'a power cut can cost the last 200 ms, at most 64 MiB; a killed process costs nothing';
}

interface Banner {
  readonly address: string;
  readonly data: string;
  readonly survives: boolean;
  readonly flush: string;
  readonly lossWindow: string;
  readonly recovery: RecoveryReport;
}

function bannerText({ address, data, survives, flush, lossWindow: loss, recovery }: Banner, flags: BrokerFlags): string {
  const { insecure, host, transientStorePool } = flags;
  const open =
    insecure && host !== '127.0.0.1' && host !== 'localhost'
      ? ' INSECURE: anyone who reaches this address may read and write everything'
      : '';
  return [
    `Tallystick broker on ${address} (name server and broker)${open}`,
    `  data   ${data}, ${survives ? 'survives a restart' : 'TEMPORARY: removed when the broker ends; give --data to keep it'}`,
    `  flush  ${flush}${transientStorePool === true ? ', transient store pool' : ''}; loss window: ${loss}`,
    ...foundText(recovery),
    `ready on ${address}`,
  ].join('\n');
}

/** Nothing of a new store, or of one that was closed in order. */
function foundText({ clean, start, end, scannedBytes, notes }: RecoveryReport): string[] {
  const found = clean ? [] : [`  found  not closed in order; ${scannedBytes} of ${end - start} bytes of log were checked`];
  return [...found, ...notes.map((note) => `  note   ${note}`)];
}
