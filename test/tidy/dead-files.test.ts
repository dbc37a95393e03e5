import { describe, expect, it } from 'vitest';
import { deadFiles } from '../../scripts/tidy/dead-files.ts';
import { projectOf } from './project-of.ts';

const dead = (changes: Record<string, string>): string[] =>
  deadFiles(projectOf(changes)).map(({ path, message }) => `${path}: ${message.split(':')[0]}`);

describe('dead files', () => {
  it('finds nothing where every file is reached from an entry', () => {
    expect(dead({ 'scripts/tidy.ts': `import './tidy/project.ts';`, 'scripts/tidy/project.ts': '' })).toEqual([]);
  });

  it('reports a source that nothing imports', () => {
    expect(dead({ 'packages/base/src/lonely.ts': '' })).toEqual(['packages/base/src/lonely.ts: nothing imports it']);
  });

  it('reports a product source that only a test imports', () => {
    const found = dead({ 'packages/base/src/spare.ts': '', 'packages/base/test/spare.test.ts': `import '../src/spare.ts';` });
    expect(found).toEqual(['packages/base/src/spare.ts: only tests import it']);
  });

  it('keeps what is started by its file name', () => {
    const found = dead({ 'test/crash/run.ts': `fork(new URL('./child.ts', import.meta.url));`, 'test/crash/child.ts': '' });
    expect(found).toEqual([]);
  });

  it('keeps what a file name with a hole can mean', () => {
    const run = 'for (const work of all) fork(`./${work}-client.ts`);';
    const found = dead({ 'test/bench/run.ts': run, 'test/bench/produce-client.ts': '', 'test/bench/other.ts': '' });
    expect(found).toEqual(['test/bench/other.ts: nothing imports it']);
  });
});
