import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/tallystick.js', import.meta.url));

it('a reader that closes the pipe early ends a command in silence', async () => {
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', '"$0" "$1" demo bank --help | head -n 1', process.execPath, bin]);
  expect(stdout).toMatch(/^Usage: tallystick demo bank/);
  expect(stderr).toBe('');
});
