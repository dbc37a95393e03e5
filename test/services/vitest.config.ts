import { defineConfig } from 'vitest/config';

const conditions = ['@tallystick/source'];

/** The tests that need `npm run services:up`; plain `npm test` leaves them out. */
export default defineConfig({
  root: new URL('../../', import.meta.url).pathname,
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/services/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
