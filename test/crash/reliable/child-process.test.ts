import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { Child } from './child-process.ts';
import type { ChildOptions } from './child/line.ts';

const folder = mkdtempSync(join(tmpdir(), 'tallystick-child-'));
const program = join(folder, 'child.mjs');
writeFileSync(program, `process.on('disconnect', () => process.exit(0)); process.send({ event: 'ready' });`);

afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a child that is asked again and again whether it has ended gathers no listeners', async () => {
  const warnings: string[] = [];
  const hear = ({ name }: Error): number => warnings.push(name);
  process.on('warning', hear);
  const told = { count: () => undefined, committed: () => undefined, took: () => undefined };
  const child = await Child.start(program, { name: 'consumer-1', role: 'consumer' } as ChildOptions, told);
  try {
    for (let n = 0; n < 20; n++) expect(await child.endsWithin(1)).toBe(false);
  } finally {
    await child.kill();
    process.off('warning', hear);
  }
  expect(await child.endsWithin(1)).toBe(true);
  expect(warnings).toEqual([]);
});
