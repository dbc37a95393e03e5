import { describe, expect, it } from 'vitest';
import { words } from '../../scripts/tidy/words.ts';
import { projectOf } from './project-of.ts';

const found = (text: string): number[] => words(projectOf({ 'docs/page.md': text })).map(({ line }) => line);

describe('words', () => {
  it.each([
    ['a folder of one machine', ['see ', 'work/main/x'].join('/')],
    ['a folder beside the project', ['see ..', 'shared', 'x'].join('/')],
    ['a registry host', ['https:/', 'registry.npmjs.org'].join('/')],
    ['a lock entry with a host', ['"resolved": "https:/', 'example.org/a.tgz"'].join('/')],
    ['a type check switched off', ['/', '/ @ts-', 'nocheck'].join('')],
  ])('reports %s with its line', (_, text) => {
    expect(found(`first line\n${text}`)).toEqual([2]);
  });

  it('leaves ordinary paths and addresses alone', () => {
    expect(
      found('packages/base/work/notes.md, https://rocketmq.apache.org, ./shared/types.ts, "resolved": "packages/base"'),
    ).toEqual([]);
  });
});
