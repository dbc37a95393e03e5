/**
 * `npm run bench -- produce | transfer`: measures the rows of rows.ts, each against a fresh broker process, and prints one line per row;
 * with --json the last line is one object `{rows: [...]}`.
 * `npm run bench -- peers`: the same work against us and every peer that is on the machine.
 * `npm run bench -- relay`: the outbox relay on PostgreSQL against its peers. With --json the last line of both is one object that ends with
 * `marks`.
 * `npm run bench -- page [FILE …]`: takes results of `--json` runs into docs/benchmarks.json and writes docs/benchmarks.md from it.
 *
 *   --only TEXT,…   works with one of these in their name    --seconds N   of each measurement (6, of peers 2; at least 0.5)
 *   --rounds N      of peers and relay (3)                   --json
 *   --soak MINUTES  of peers: and full load for so long      --rows N, --backlog N   of relay (100,000, 10,000,000)
 */
import { askedWithWords, oneOf, refuse, someNumber, wholeNumber } from '../process/command-line.ts';
import type { Measured } from './measure.ts';
import { chosen, UnknownWork } from './only.ts';
import { publish } from './page.ts';
import { marksText, peers } from './peers/peers.ts';
import { measureIn, startBroker } from './processes.ts';
import { relayBench } from './relay/relay.ts';
import { type MeasuredRow, PRODUCE_ROWS, type Row, TRANSFER_ROWS } from './rows.ts';

const PEERS_SECONDS = '2';
const SECONDS = '6';
/** What a short run may still measure. */
const SECONDS_MIN = 0.5;
const SOAK_MINUTES_MIN = 0.1;
const ROWS_MIN = 10;

const WORKS = {
  produce: () => runRows(PRODUCE_ROWS),
  transfer: () => runRows(TRANSFER_ROWS),
  peers: runPeers,
  relay: runRelay,
  page: async () => publish(files),
};
type Work = keyof typeof WORKS;

const command = { file: import.meta.url };
const { values, positionals } = askedWithWords(command, {
  json: { type: 'boolean' },
  seconds: { type: 'string' },
  rounds: { type: 'string', default: '3' },
  only: { type: 'string' },
  soak: { type: 'string' },
  rows: { type: 'string', default: '100000' },
  backlog: { type: 'string', default: '10000000' },
});
const [word = '', ...files] = positionals;
const work = oneOf(command, 'the work', word, Object.keys(WORKS) as Work[]);
if (work !== 'page' && files.length > 0) refuse(command, `${work} takes nothing more, not "${files.join(' ')}"`);
const seconds = someNumber(command, '--seconds', values.seconds ?? (work === 'peers' ? PEERS_SECONDS : SECONDS), SECONDS_MIN);
const rounds = wholeNumber(command, '--rounds', values.rounds, 1);
const rowsAsked = wholeNumber(command, '--rows', values.rows, ROWS_MIN);
const backlog = wholeNumber(command, '--backlog', values.backlog, ROWS_MIN);
const soakMinutes = values.soak === undefined ? undefined : someNumber(command, '--soak', values.soak, SOAK_MINUTES_MIN);
await WORKS[work]().catch(tell);

async function runPeers(): Promise<void> {
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const result = await peers({ seconds, rounds, only: values.only, soakMinutes, progress });
  process.stdout.write(`${values.json ? JSON.stringify(result) : marksText(result.marks)}\n`);
}

async function runRelay(): Promise<void> {
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const result = await relayBench({ seconds, rounds, rows: rowsAsked, backlog, only: values.only, progress });
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

/** A work that does not exist is the caller's mistake; everything else is ours, with its stack. */
function tell(error: unknown): void {
  if (!(error instanceof UnknownWork)) throw error;
  refuse(command, error.message);
}
