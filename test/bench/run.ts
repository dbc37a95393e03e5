/**
 * `npm run bench -- produce | transfer [--json] [--seconds N] [--only TEXT]`: measures the rows of rows.ts, each against a fresh
 * broker process, and prints one line per row; with --json the last line is one object `{rows: [...]}`.
 */
import { parseArgs } from 'node:util';
import type { Measured } from './measure.ts';
import { measureIn, startBroker } from './processes.ts';
import { PRODUCE_ROWS, type Row, TRANSFER_ROWS } from './rows.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, seconds: { type: 'string', default: '6' }, only: { type: 'string' } },
});
const works: Record<string, readonly Row[]> = { produce: PRODUCE_ROWS, transfer: TRANSFER_ROWS };
const work = positionals[0] ?? '';
const rows = works[work];
const windowMs = Number(values.seconds) * 1000;
if (rows === undefined || positionals.length !== 1 || !(windowMs >= 500)) {
  process.stderr.write('usage: npm run bench -- produce|transfer [--json] [--seconds N (at least 0.5)] [--only TEXT]\n');
  process.exit(2);
}

const label = (row: Row): string =>
  `${row.work} ${row.flush.padEnd(5)} ${row.mode.padEnd(7)} ${row.header.padEnd(6)} ${row.bytes} B, ${row.inFlight} in flight`;

const results = [];
for (const row of rows) {
  if (values.only !== undefined && !label(row).includes(values.only)) continue;
  const broker = await startBroker(row.flush);
  try {
    const { perSecond, p50Ms, p99Ms } = await measureIn<Measured>(`./${row.work}-client.ts`, [
      broker.address,
      JSON.stringify(row),
      String(windowMs),
    ]);
    results.push({ ...row, messagesPerSecond: perSecond, p50Ms, p99Ms });
    const line = `${label(row).padEnd(52)} ${String(perSecond).padStart(9)}/s  p50 ${p50Ms} ms  p99 ${p99Ms} ms`;
    (values.json ? process.stderr : process.stdout).write(`${line}\n`);
  } finally {
    await broker.stop();
  }
}
if (values.json) process.stdout.write(`${JSON.stringify({ rows: results })}\n`);
