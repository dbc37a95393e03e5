import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { diesWithUs } from './dies-with-us.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('any number of children has one listener', async () => {
  const before = process.listenerCount('exit');
  const children = Array.from({ length: 12 }, () => diesWithUs(spawn('sleep', ['600'])));
  expect(process.listenerCount('exit')).toBe(before);
  const ended = children.map((child) => once(child, 'exit'));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(ended);
});

test('a child ends with the process that started it', () => {
  const program = `
    import { spawn } from 'node:child_process';
    import { diesWithUs } from './test/process/dies-with-us.ts';
    diesWithUs(spawn('sleep', ['600'], { stdio: 'inherit' }));
    console.log('started');
    process.exit(0);`;
  const args = ['--import', './packages/cli/bin/sources.js', '--input-type=module', '--eval', program];
  // Whoever has the pipe open is waited for: the child, too.
  const { stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', timeout: 50_000 });
  expect([error, stderr, stdout]).toEqual([undefined, '', 'started\n']);
});
