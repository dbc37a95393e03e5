/** What `npm run services:up` prints: lines for a shell, which set what the programs of the guides read; the rest is a comment. */
import type { ServicesFile } from './state.ts';

export function addressLines({ services: { postgres, rabbitmq, pgbouncer } }: ServicesFile): string[] {
  const lines = [
    ['export DATABASE_URL=', postgres?.urls['url']],
    ['export RABBITMQ_URL=', rabbitmq?.urls['url']],
    ['# for tests: PostgreSQL through pgbouncer ', pgbouncer?.urls['url']],
    ['# for tests: management of RabbitMQ ', rabbitmq?.urls['managementUrl']],
  ];
  return lines.filter(([, url]) => url !== undefined).map(([says, url]) => `${says}${url}`);
}
