import { describe, expect, it } from 'vitest';
import { dependencies } from '../../scripts/tidy/dependencies.ts';
import { projectOf } from './project-of.ts';

const manifest = (name: string, all: Record<string, string>): string =>
  JSON.stringify({ name, exports: {}, dependencies: all }, null, 1);
const rules = (changes: Record<string, string>): string[] =>
  dependencies(projectOf(changes)).map(({ path, rule }) => `${path} ${rule}`);

describe('dependencies', () => {
  it('finds nothing when imports and manifests agree', () => {
    expect(rules({})).toEqual([]);
  });

  it.each([
    ['a third-party module that is not declared', 'packages/broker/src/store/store.ts', `import 'left-pad';`, 'undeclared'],
    ['a tool of the root in product code', 'packages/broker/src/store/store.ts', `import 'vitest';`, 'undeclared'],
    [
      'a workspace package that is not declared',
      'packages/base/src/ports.ts',
      `import type { B } from '@tallystick/broker';`,
      'undeclared',
    ],
    ['a Node module without its prefix', 'scripts/tidy.ts', `import 'fs';`, 'node-prefix'],
  ])('reports %s', (_, path, text, rule) => {
    expect(rules({ [path]: text })).toContain(`${path} ${rule}`);
  });

  it('lets a test use the tools of the root and any workspace package', () => {
    expect(rules({ 'packages/base/test/a.test.ts': `import 'vitest';\nimport '@tallystick/broker';` })).toEqual([]);
  });

  it('reports a dependency that nobody imports, one that floats, and a third party in a core package', () => {
    const path = 'packages/broker/package.json';
    const found = rules({ [path]: manifest('@tallystick/broker', { '@tallystick/base': '^0.1.0', 'left-pad': '1.3.0' }) });
    expect(found).toEqual([`${path} exact-version`, `${path} unused`, `${path} core-dependency`]);
  });
});
