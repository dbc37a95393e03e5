/** What `npm run services:up` prints can be given to a shell, and then the programs of the guides find their services. */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { addressLines } from '../../../scripts/services/addresses.ts';
import { readState } from '../../../scripts/services/state.ts';

it('a shell that reads the addresses has DATABASE_URL and RABBITMQ_URL, and takes the others for comments', () => {
  const state = readState()!;
  const lines = addressLines(state);
  const script = [...lines, 'echo "$DATABASE_URL"', 'echo "$RABBITMQ_URL"'].join('\n');
  const { postgres, pgbouncer, rabbitmq } = state.services;
  expect(execFileSync('sh', ['-eu', '-c', script], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })).toBe(
    `${postgres!.urls['url']}\n${rabbitmq!.urls['url']}\n`,
  );
  const comments = lines.filter((line) => line.startsWith('#')).join('\n');
  expect(comments).toContain(`pgbouncer ${pgbouncer!.urls['url']}`);
  expect(comments).toContain(`management of RabbitMQ ${rabbitmq!.urls['managementUrl']}`);
});
