/**
 * `npm run test:compat`: Apache RocketMQ's Java client, unmodified, against our broker. Builds the Java program with Maven, starts a
 * broker with short waits, plays all scenarios once with each of the protocol's two header formats, prints a table, and fails when a
 * check fails or when fewer checks ran than the program is known to have. Then name servers, ours and Apache's, with each other's brokers
 * (`--name-servers`: these alone). `--address HOST:PORT` plays against another broker (Apache's
 * own, say), which shows whether a failure is the broker's or the program's.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BrokerProcess } from '../process/broker-process.ts';
import { asked } from '../process/command-line.ts';
import { playNameServers } from './name-servers.ts';

const checksExpected = 21;
const headerFormats = ['JSON', 'ROCKETMQ'] as const;
/** Retries after 200 ms, a delay of level 2 after 1 s, check-backs from half a second on. */
const brokerFlags = ['--check-after', '500', '--check-interval', '300', '--delay-levels', '200,1000,1000,1000,1000'];

interface Check {
  format: string;
  ok: boolean;
  name: string;
  ms: string;
  detail: string;
}

const values = asked(
  { file: import.meta.url },
  {
    address: { type: 'string' },
    format: { type: 'string' },
    'name-servers': { type: 'boolean' },
  },
);

const checks: Check[] = [];
let incomplete = false;
if (values['name-servers'] !== true) await playJavaClient();
if (values.address === undefined && values.format === undefined) {
  for (const { name, fault, ms } of await playNameServers())
    report({ format: 'servers', ok: fault === '', name, ms: String(ms), detail: fault });
}
const failed = checks.filter(({ ok }) => !ok);
console.log(`compat: ${checks.length - failed.length} checks passed, ${failed.length} failed`);
if (failed.length > 0 || incomplete) process.exitCode = 1;

async function playJavaClient(): Promise<void> {
  build();
  const data = mkdtempSync(join(tmpdir(), 'tallystick-compat-'));
  const broker = values.address === undefined ? await BrokerProcess.start({ data, flags: brokerFlags }) : undefined;
  try {
    for (const format of headerFormats) {
      if (values.format !== undefined && values.format !== format) continue;
      const before = checks.length;
      await play(broker?.address ?? values.address ?? '', format);
      if (checks.length - before === checksExpected) continue;
      incomplete = true;
      console.log(`${format}: ${checks.length - before} of ${checksExpected} checks ran`);
    }
  } finally {
    const ended = await broker?.end('SIGTERM');
    if (ended !== undefined && ended !== 0) {
      incomplete = true;
      console.log(`the broker ended with ${ended} after SIGTERM:\n${broker?.output}`);
    }
    rmSync(data, { recursive: true, force: true });
  }
  if (broker !== undefined && checks.some(({ ok }) => !ok)) console.log(`the broker said:\n${broker.output}`);
}

/** Compiles the program and fetches the client; Maven is quiet unless something is wrong. */
function build(): void {
  const { status, error } = spawnSync('mvn', ['-B', '-q', '-f', 'test/compat/pom.xml', 'process-classes'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0)
    throw new Error(`the Java program was not built (Maven and a JDK 17 are needed): ${error?.message ?? `status ${status}`}`);
}

/** Runs the program once, with one header format, and prints each check as it is reported. */
async function play(address: string, format: string): Promise<void> {
  const java = spawn(
    'java',
    [
      '-Xmx512m',
      `-Drocketmq.serialize.type=${format}`,
      '-Drocketmq.client.rebalance.waitInterval=1000',
      '-Duser.home=.tmp/compat/home',
      '-cp',
      '.tmp/compat/classes:.tmp/compat/lib/*',
      'tallystick.compat.Main',
      address,
      `${format}-${process.pid}`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  for await (const line of createInterface({ input: java.stdout })) {
    const [outcome, name, ms, detail] = line.split('\t');
    if (name === undefined || ms === undefined || detail === undefined) continue;
    report({ format, ok: outcome === 'ok', name, ms, detail });
  }
}

function report(check: Check): void {
  checks.push(check);
  const { ok, format, name, ms, detail } = check;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${format.padEnd(8)} ${name.padEnd(92)} ${ms.padStart(6)} ms  ${detail}`);
}
