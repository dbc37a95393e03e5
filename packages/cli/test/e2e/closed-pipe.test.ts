import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/tallystick.js', import.meta.url));

it('a reader that has closed the pipe ends a command in silence', async () => {
  const { stderr } = await promisify(execFile)('sh', ['-c', '"$0" "$1" demo bank --help | true', process.execPath, bin]);
  expect(stderr).toBe('');
});
