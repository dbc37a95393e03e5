import { describe, expect, it } from 'vitest';
import { coreRule } from '../../scripts/tidy/core-rule.ts';
import { projectOf } from './project-of.ts';

const core = 'packages/broker/src/store/thing.ts';
const found = (text: string, path = core): string[] =>
  coreRule(projectOf({ [path]: text })).map(({ message }) => message.split(' in core code')[0] ?? '');

describe('the core rule', () => {
  it('finds nothing in core code that takes its ports', () => {
    expect(coreRule(projectOf())).toEqual([]);
  });

  it.each([
    ['const t = Date.now();', 'Date'],
    ['const t: Date = clock.date();', 'Date'],
    ['const r = Math.random();', 'Math.random'],
    ['const { random } = Math;', 'Math.random'],
    ['const t = performance.now();', 'performance'],
    ['const t = clock.hrtime();', 'hrtime'],
    ['process.nextTick(run);', 'nextTick'],
    ['setTimeout(run, 5);', 'setTimeout'],
    ['interface Timers { setTimeout(run: () => void): void }', 'setTimeout'],
    ['this.timers.setInterval(run);', 'setInterval'],
    ['const later = turn["setImmediate"];', `['setImmediate']`],
    ['queueMicrotask(run);', 'queueMicrotask'],
    ['new Promise(run);', 'Promise'],
    ['function f(): Promise<void> {}', 'Promise'],
    ['async function f() {}', 'async'],
    ['const f = async () => {};', 'async'],
    ['class A { async m() {} }', 'async'],
    ['for await (const x of y) run(x);', 'for await'],
    ['await thing;', 'await'],
    ['const a = process.env.A;', 'process'],
    ['const g = globalThis;', 'globalThis'],
    ['console.log(1);', 'console'],
    ['const bytes = crypto.subtle;', 'crypto'],
    [`import { readFile } from 'node:fs';`, 'node:fs'],
    [`import type { Socket } from 'node:net';`, 'node:net'],
    [`import { setTimeout as wait } from 'node:timers/promises';`, 'node:timers/promises'],
    [`import { Worker } from 'node:worker_threads';`, 'node:worker_threads'],
    [`import { deflate } from 'node:zlib';`, `zlib's deflate`],
    [`const later = import('./x.ts');`, 'import()'],
  ])('reports %s', (text, what) => {
    expect(found(text)).toContain(what);
  });

  it.each([
    ['words in comments', '// await the Date and the Promise\n/** setTimeout */ const a = 1;'],
    ['words in texts', `const sentence = 'a Promise is kept by Date.now()';`],
    ['a member called process', 'queue.process(batch); interface Q { process(batch: number): void }'],
    ['a parameter called process', 'const f = (process: number): number => process + 1;'],
    ['Math without random', 'const a = Math.max(1, 2);'],
    [
      'Buffer and zlib',
      `import { crc32, inflateSync } from 'node:zlib';\nimport { Buffer } from 'node:buffer';\nconst b = Buffer.alloc(crc32('a'));`,
    ],
  ])('leaves %s alone', (_, text) => {
    expect(found(text)).toEqual([]);
  });

  it.each([
    ['a shell folder', 'packages/broker/src/shell/clock.ts'],
    ['a file named as a shell', 'packages/broker/src/broker-shell.ts'],
    ['a test', 'packages/broker/test/thing.test.ts'],
    ['a package that is no core', 'packages/reliable/src/relay.ts'],
  ])('leaves %s free', (_, path) => {
    expect(found('export const now = async () => Date.now();', path)).toEqual([]);
  });
});
