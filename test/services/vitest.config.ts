import { defineConfig } from 'vitest/config';
import { readState } from '../../scripts/services/state.ts';

const conditions = ['@tallystick/source'];

const postgres = readState()?.services.postgres?.urls['url'];

/** The contracts that run on SQLite with `npm test`, and here on PostgreSQL through `pg`. */
const contracts = [
  'sql/session',
  'outbox/outbox',
  'relay/relay',
  'relay/late-commit',
  'inbox/inbox',
  'local-transaction/*',
  'monitor/*',
  'alarms/alarms',
];

/** The tests that need `npm run services:up`; plain `npm test` leaves them out. */
export default defineConfig({
  root: new URL('../../', import.meta.url).pathname,
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/services/**/*.test.ts', ...contracts.map((name) => `packages/reliable/test/${name}.test.ts`)],
    env: postgres === undefined ? {} : { TALLYSTICK_TEST_POSTGRES: postgres },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
