import { describe, expect, it } from 'vitest';
import { layering } from '../../scripts/tidy/layering.ts';
import { projectOf } from './project-of.ts';

const rules = (changes: Record<string, string>): string[] =>
  layering(projectOf(changes)).map(({ path, line, rule }) => `${path}:${line} ${rule}`);

describe('layering', () => {
  it('finds nothing in a house whose imports all point down', () => {
    expect(layering(projectOf())).toEqual([]);
  });

  it.each([
    [
      'a package that imports one above it',
      'packages/base/src/index.ts',
      `\nimport '@tallystick/broker';`,
      '2 package-direction',
    ],
    [
      'a package that imports one above it for a type',
      'packages/base/src/index.ts',
      `import type { X } from '@tallystick/broker';`,
      '1 package-direction',
    ],
    [
      'a folder that imports one above it',
      'packages/broker/src/store/store.ts',
      `import '../handlers/handle.ts';`,
      '1 folder-direction',
    ],
    [
      'a type taken from a folder above',
      'packages/broker/src/store/store.ts',
      `import type { H } from '../handlers/handle.ts';`,
      '1 folder-direction',
    ],
    ['a folder without a rank', 'packages/broker/src/misc/thing.ts', `import '../store/store.ts';`, '1 folder-direction'],
    [
      'core code that imports a shell',
      'packages/broker/src/store/store.ts',
      `import { now } from '@tallystick/base/node';`,
      '1 core-imports-shell',
    ],
    ['a path into another package', 'packages/broker/test/a.test.ts', `import '../../base/src/ports.ts';`, '1 deep-import'],
    [
      'a subpath that is not exported',
      'packages/broker/src/store/store.ts',
      `import '@tallystick/base/src/ports.ts';`,
      '1 deep-import',
    ],
  ])('reports %s', (_, path, text, expected) => {
    expect(rules({ [path]: text })).toContain(`${path}:${expected}`);
  });

  it('lets two folders of one rank import each other in one direction only', () => {
    const groups = { 'packages/broker/src/groups/group.ts': `import '../topics/topic.ts';` };
    expect(rules({ ...groups, 'packages/broker/src/topics/topic.ts': `export const a = 1;` })).toEqual([]);
    const both = rules({
      ...groups,
      'packages/broker/src/topics/topic.ts': `import '../groups/offsets.ts';`,
      'packages/broker/src/groups/offsets.ts': '',
    });
    expect(both).toEqual(['packages/broker/src/topics/topic.ts:1 folder-direction']);
  });

  it('lets the simulation open the broker, and not every package', () => {
    const text = `import '../../packages/broker/src/store/store.ts';\nimport '../../packages/base/src/ports.ts';`;
    expect(rules({ 'test/sim/a.ts': text })).toEqual(['test/sim/a.ts:2 deep-import']);
  });

  it('lets an entry gather core and shell for the user', () => {
    expect(rules({ 'packages/base/src/index.ts': `export { now } from './shell/node.ts';` })).toEqual([]);
  });
});
