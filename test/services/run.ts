/**
 * `npm run test:services [-- FILTER … | vitest's own flags]`: every contract that needs a real PostgreSQL, RabbitMQ or pgbouncer, on the
 * services of `npm run services:up`. Fails when a service is missing, when a test fails, and when a test was skipped: a suite
 * registers what its backend can do, so nothing is left to skip.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missingServices } from './support/missing.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Where the counts of the last run lie; two runs at once have a file each until they end. */
const RESULTS = join(ROOT, '.tmp', 'services-tests.json');
const OWN = `${RESULTS}.${process.pid}`;

interface Results {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

const given = process.argv.slice(2);
process.exitCode = await run();

async function run(): Promise<number> {
  const missing = await missingServices();
  if (missing.length > 0) {
    console.error(`not running: ${missing.join(', ')}; run npm run services:up`);
    return 1;
  }
  mkdirSync(dirname(RESULTS), { recursive: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile=${OWN}`];
  const { status } = spawnSync(
    join(ROOT, 'node_modules/.bin/vitest'),
    ['run', '--config', 'test/services/vitest.config.ts', ...reporters, ...given],
    { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (existsSync(OWN)) renameSync(OWN, RESULTS);
  if (status !== 0) return status ?? 1;
  const results = JSON.parse(readFileSync(RESULTS, 'utf8')) as Results;
  const skipped = results.numPendingTests + results.numTodoTests;
  console.log(`services: ${results.numPassedTests} passed, ${results.numFailedTests} failed, ${skipped} skipped`);
  // Asked for by name (-t), the other tests of a file count as skipped.
  return skipped > 0 && !given.some((argument) => /^(-t|--testNamePattern)/.test(argument)) ? 1 : 0;
}
