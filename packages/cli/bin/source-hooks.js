// Module hooks behind sources.js. They run in Node's loader thread. What esbuild makes of a file is kept in the checkout's node_modules/.cache,
// one entry per file: the demo starts a dozen processes, and each would spend half a second of both cores on the same text again.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const cache = fileURLToPath(new URL('../../../node_modules/.cache/tallystick/', import.meta.url));
const form = 'ts node20 esm 1';

export function resolve(specifier, context, next) {
  return next(specifier, { ...context, conditions: ['@tallystick/source', ...context.conditions] });
}

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const path = fileURLToPath(url);
  const text = await readFile(path, 'utf8');
  const entry = join(cache, `${basename(path)}-${hash(path)}.js`);
  const mark = `// ${hash(form + text)}\n`;
  const kept = await readFile(entry, 'utf8').catch(() => '');
  if (kept.startsWith(mark)) return { format: 'module', shortCircuit: true, source: kept.slice(mark.length) };
  const source = await strip(text, path);
  await keep(entry, mark + source);
  return { format: 'module', shortCircuit: true, source };
}

async function strip(text, path) {
  const { transform } = await import('esbuild');
  const { code } = await transform(text, {
    loader: 'ts',
    target: 'node20',
    format: 'esm',
    sourcemap: 'inline',
    sourcefile: path,
  });
  return code;
}

// Renamed into place, so that a process that starts meanwhile reads a whole entry or none. A folder that cannot be written costs only time.
async function keep(entry, source) {
  const fresh = `${entry}.${process.pid}`;
  await mkdir(cache, { recursive: true })
    .then(() => writeFile(fresh, source))
    .then(() => rename(fresh, entry))
    .catch(() => {});
}

function hash(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 24);
}
