/**
 * The programs of the guides that need PostgreSQL and RabbitMQ run as written: a `ts services` block is a whole program and the `text` block after it
 * its output. The services are named by the environment, each program has a database and a virtual host of its own.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { emptyDatabase, freshVhost } from '../support/services.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const guides = join(root, 'docs/guides');
// Inside the project, so that its packages are found by name.
mkdirSync(join(root, '.tmp'), { recursive: true });
const folder = mkdtempSync(join(root, '.tmp', 'service-guides-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = readdirSync(guides).flatMap((guide) =>
  [...readFileSync(join(guides, guide), 'utf8').matchAll(/^```ts services\n([^]*?)^```\n\n```text\n([^]*?)^```/gm)].map(
    ([, code = '', output = ''], at) => ({ guide, number: at + 1, code, output }),
  ),
);

it('there are such programs', () => {
  expect(programs.length).toBeGreaterThan(0);
});

it.each(programs)('program $number of $guide prints what it says', async ({ guide, number, code, output }) => {
  const [database, vhost] = await Promise.all([emptyDatabase(), freshVhost()]);
  try {
    const stdout = await printed(`${guide}-${number}`, code, { DATABASE_URL: database.url, RABBITMQ_URL: vhost.url });
    expect(stdout).toBe(output);
  } finally {
    await Promise.all([database.drop(), vhost.drop()]);
  }
});

it('the queues that RabbitMQ is told of can be declared after those of the program above them', async () => {
  const text = readFileSync(join(guides, 'reliable-messages.md'), 'utf8');
  const above = programs.flatMap(({ code }) => code.match(/^await channel\.assertQueue\([^]*?\);$/gm) ?? []);
  const told = [...text.matchAll(/^```js\n([^]*?)^```/gm)].map(([, code = '']) => code);
  expect({ above: above.length, told: told.length }).toEqual({ above: 1, told: 1 });
  const code = `import amqp from 'amqplib';
    const connection = await amqp.connect(process.env['RABBITMQ_URL']!);
    const channel = await connection.createChannel();
    ${[...above, ...told].join('\n')}
    await connection.close();
    console.log('declared');`;
  const vhost = await freshVhost();
  try {
    expect(await printed('queues', code, { RABBITMQ_URL: vhost.url })).toBe('declared\n');
  } finally {
    await vhost.drop();
  }
});

/** What a program prints that runs in a folder of its own. */
async function printed(name: string, code: string, env: Readonly<Record<string, string>>): Promise<string> {
  const own = join(folder, name);
  mkdirSync(own);
  writeFileSync(join(own, 'program.ts'), code);
  const sources = join(root, 'packages/cli/bin/sources.js');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', sources, 'program.ts'], {
    cwd: own,
    env: { ...process.env, ...env },
  });
  return stdout;
}
