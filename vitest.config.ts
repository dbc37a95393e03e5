import { defaultExclude, defineConfig } from 'vitest/config';

const conditions = ['@tallystick/source'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: [...defaultExclude, 'test/services/**'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
