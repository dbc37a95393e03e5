/** Small projects for the tests of tidy: a few files by hand, in a house of two packages. */
import { Project } from '../../scripts/tidy/project.ts';

const manifest = (name: string, dependencies: Record<string, string> = {}, subpaths: Record<string, string> = {}): string =>
  JSON.stringify({
    name,
    exports: Object.fromEntries(
      Object.entries({ '.': './src/index.ts', ...subpaths }).map(([door, source]) => [door, { '@tallystick/source': source }]),
    ),
    dependencies,
  });

const house: Record<string, string> = {
  'package.json': JSON.stringify({
    name: 'root',
    scripts: { tidy: 'node scripts/tidy.ts' },
    devDependencies: { vitest: '4.1.12' },
  }),
  'packages/base/package.json': manifest('@tallystick/base', {}, { './node': './src/shell/node.ts' }),
  'packages/base/src/index.ts': `export type * from './ports.ts';`,
  'packages/base/src/ports.ts': `export interface Clock { now(): number }`,
  'packages/base/src/shell/node.ts': `export const now = (): number => Date.now();`,
  'packages/broker/package.json': manifest('@tallystick/broker', { '@tallystick/base': '0.1.0' }),
  'packages/broker/src/index.ts': `export { store } from './store/store.ts'; export { handle } from './handlers/handle.ts';`,
  'packages/broker/src/store/store.ts': `import type { Clock } from '@tallystick/base';\nexport const store = (clock: Clock): number => clock.now();`,
  'packages/broker/src/handlers/handle.ts': `import { store } from '../store/store.ts';\nexport const handle = store;`,
};

/** The house with some files added or replaced. */
export function projectOf(changes: Record<string, string> = {}): Project {
  return new Project(new Map(Object.entries({ ...house, ...changes })));
}
