#!/usr/bin/env node
// Starts the command line in this process: from the TypeScript sources where they are present, else from `dist`.
import { existsSync } from 'node:fs';

if (existsSync(new URL('../src/main.ts', import.meta.url))) {
  await import('./sources.js');
  await import('../src/main.ts');
} else {
  await import('../dist/main.js');
}
