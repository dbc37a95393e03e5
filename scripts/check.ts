/**
 * `npm run check`: everything that can be judged without running the product. Each step runs even when an earlier one failed, so
 * that one run shows all there is to mend; the exit status tells whether all passed.
 */
import { spawnSync } from 'node:child_process';

const sources = ['--import', './packages/cli/bin/sources.js'];
const bin = (name: string): string => `node_modules/.bin/${name}`;

const steps: readonly { name: string; command: string; args: readonly string[] }[] = [
  { name: 'types', command: bin('tsc'), args: ['-p', 'tsconfig.json'] },
  { name: 'lint', command: bin('oxlint'), args: ['--type-aware', '--deny-warnings'] },
  { name: 'format', command: bin('prettier'), args: ['--check', '--log-level', 'warn', '.'] },
  { name: 'tidy', command: process.execPath, args: [...sources, 'scripts/tidy.ts'] },
  { name: 'docs', command: process.execPath, args: [...sources, 'scripts/docs.ts', '--check'] },
];

if (process.argv.length > 2) {
  console.error(
    `usage: npm run check (${steps.map(({ name }) => name).join(', ')}; one alone: npm run types | lint | format | tidy | docs)`,
  );
  process.exit(2);
}
const failed: string[] = [];
for (const step of steps) {
  const began = Date.now();
  const { status } = spawnSync(step.command, step.args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${step.name} (${seconds} s)`);
  if (status !== 0) failed.push(step.name);
}
if (failed.length > 0) {
  console.error(
    `check failed: ${failed.join(', ')}. One step alone: npm run types | lint | format (writes) | tidy | docs (writes)`,
  );
  process.exitCode = 1;
}
