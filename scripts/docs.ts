/**
 * `npm run docs` writes the reference pages from the tables in the code; with `--check` it only compares and fails when a page is
 * not what its table says. A page's first line names its table, so nobody mends the page by hand.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as remoting from '@tallystick/remoting';

const pages: readonly { path: string; make: (() => string) | undefined }[] = [
  { path: 'docs/reference/protocol.md', make: (remoting as { protocolPage?: () => string }).protocolPage },
];

const onlyCheck = process.argv.includes('--check');
for (const { path, make } of pages) {
  if (make === undefined) continue;
  const wanted = make();
  if (wanted === present(path)) continue;
  if (onlyCheck) {
    console.error(`${path} differs from the table it is made from; run: npm run docs`);
    process.exitCode = 1;
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, wanted);
    console.log(`wrote ${path}`);
  }
}

function present(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
