/** The example, as its reader runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { freshVhost, services } from '../support/services.ts';

const folder = new URL('../../../examples/order-wallet/', import.meta.url);

it.each<[string, string[]]>([
  ['with nothing in its way', ['--orders', '100']],
  ['while its services are killed', ['--orders', '100', '--kill']],
])('orders are paid once %s', { timeout: 240_000 }, async (_, more) => {
  const vhost = await freshVhost();
  try {
    const addresses = ['--postgres', services().postgres.url, '--rabbitmq', vhost.url];
    const child = spawn('npm', ['start', '--silent', '--', ...addresses, ...more], { cwd: folder, stdio: 'pipe' });
    const output: string[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    const [code] = (await once(child, 'exit')) as [number | null];
    const text = output.join('');
    expect(text).not.toContain('WRONG');
    expect(text.match(/^right /gm)).toHaveLength(more.includes('--kill') ? 6 : 5);
    expect(code).toBe(0);
  } finally {
    await vhost.drop();
  }
});
