import { describe, expect, it } from 'vitest';
import { links } from '../../scripts/tidy/links.ts';
import { projectOf } from './project-of.ts';

const found = (text: string): string[] =>
  links(projectOf({ 'docs/page.md': text })).map(({ line, message }) => `${line}: ${message}`);

describe('links', () => {
  it('follows links to files, folders, addresses and headings', () => {
    expect(
      found('[a](../packages/base/src/ports.ts) [b](../packages/base/) [c](https://example.org) [d](#there) [e](page.md#here)'),
    ).toEqual([]);
  });

  it('reports a link to a file that is not there', () => {
    expect(found('first\n[gone](../packages/base/src/gone.ts)')).toEqual(['2: nothing is at packages/base/src/gone.ts']);
  });
});
