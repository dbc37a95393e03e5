/**
 * `npm run bench -- produce | transfer [--json] [--seconds N] [--only TEXT,…]`: measures the rows of rows.ts, each against a fresh
 * broker process, and prints one line per row; with --json the last line is one object `{rows: [...]}`.
 *
 * `npm run bench -- peers [--json] [--seconds N] [--rounds N] [--only TEXT,…] [--soak MINUTES]`: the same work against us and every peer
 * that is on the machine; with --json the last line is one object that ends with `marks`.
 *
 * `npm run bench -- relay [--json] [--seconds N] [--rounds N] [--rows N] [--backlog N] [--only TEXT,…]`: the outbox relay on PostgreSQL
 * against its peers; with --json the last line is one object that ends with `marks`.
 *
 * `npm run bench -- page [FILE …]`: takes results of `--json` runs into docs/benchmarks.json and writes docs/benchmarks.md from it.
 */
import { parseArgs } from 'node:util';
import type { Measured } from './measure.ts';
import { chosen, UnknownWork } from './only.ts';
import { publish } from './page.ts';
import { marksText, peers } from './peers/peers.ts';
import { measureIn, startBroker } from './processes.ts';
import { relayBench } from './relay/relay.ts';
import { type MeasuredRow, PRODUCE_ROWS, type Row, TRANSFER_ROWS } from './rows.ts';

const USAGE = `usage: npm run bench -- produce|transfer [--json] [--seconds N (at least 0.5)] [--only TEXT,…]
       npm run bench -- peers [--json] [--seconds N] [--rounds N] [--only TEXT,…] [--soak MINUTES]
       npm run bench -- relay [--json] [--seconds N] [--rounds N] [--rows N] [--backlog N] [--only TEXT,…]
       npm run bench -- page [FILE …]
`;
const PEERS_SECONDS = '2';
const SECONDS = '6';

const OPTIONS = {
  json: { type: 'boolean' },
  seconds: { type: 'string' },
  rounds: { type: 'string', default: '3' },
  only: { type: 'string' },
  soak: { type: 'string' },
  rows: { type: 'string', default: '100000' },
  backlog: { type: 'string', default: '10000000' },
  help: { type: 'boolean' },
} as const;
const { values, positionals } = given();
const [work, ...files] = positionals;
const seconds = Number(values.seconds ?? (work === 'peers' ? PEERS_SECONDS : SECONDS));
const rounds = Number(values.rounds);
const counts = [values.rows, values.backlog].map(Number);
const soakMinutes = values.soak === undefined ? undefined : Number(values.soak);
const areNumbersRight =
  seconds >= 0.5 &&
  Number.isInteger(rounds) &&
  rounds >= 1 &&
  counts.every((count) => Number.isInteger(count) && count >= 10) &&
  (soakMinutes === undefined || soakMinutes > 0);

if (values.help) process.stdout.write(USAGE);
else if (work === 'page') publish(files);
else if (files.length > 0 || !areNumbersRight) refuse();
else if (work === 'peers') await runPeers().catch(tell);
else if (work === 'relay') await runRelay().catch(tell);
else if (work === 'produce') await runRows(PRODUCE_ROWS).catch(tell);
else if (work === 'transfer') await runRows(TRANSFER_ROWS).catch(tell);
else refuse();

async function runPeers(): Promise<void> {
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const result = await peers({ seconds, rounds, only: values.only, soakMinutes, progress });
  process.stdout.write(`${values.json ? JSON.stringify(result) : marksText(result.marks)}\n`);
}

async function runRelay(): Promise<void> {
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const { rows, backlog, only } = values;
  const result = await relayBench({ seconds, rounds, rows: Number(rows), backlog: Number(backlog), only, progress });
  process.stdout.write(`${values.json ? JSON.stringify(result) : marksText(result.marks)}\n`);
}

async function runRows(rows: readonly Row[]): Promise<void> {
  const results: MeasuredRow[] = [];
  const asked = new Set(chosen(rows.map(label), values.only));
  for (const row of rows) {
    if (!asked.has(label(row))) continue;
    const broker = await startBroker(row.flush);
    try {
      const { perSecond, p50Ms, p99Ms } = await measureIn<Measured>(`./${row.work}-client.ts`, [
        broker.address,
        JSON.stringify(row),
        String(seconds * 1000),
      ]);
      results.push({ ...row, messagesPerSecond: perSecond, p50Ms, p99Ms });
      const line = `${label(row).padEnd(52)} ${String(perSecond).padStart(9)}/s  p50 ${p50Ms} ms  p99 ${p99Ms} ms`;
      (values.json ? process.stderr : process.stdout).write(`${line}\n`);
    } finally {
      await broker.stop();
    }
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ rows: results })}\n`);
}

function label(row: Row): string {
  return `${row.work} ${row.flush.padEnd(5)} ${row.mode.padEnd(7)} ${row.header.padEnd(6)} ${row.bytes} B, ${row.inFlight} in flight`;
}

/** What was asked for; ends the process when that cannot be understood. */
function given() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

/** A work that does not exist is the caller's mistake; everything else is ours, with its stack. */
function tell(error: unknown): void {
  if (!(error instanceof UnknownWork)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}

function refuse(): void {
  process.stderr.write(USAGE);
  process.exitCode = 2;
}
