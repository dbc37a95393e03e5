// Module hooks behind sources.js. They run in Node's loader thread.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';

export function resolve(specifier, context, next) {
  return next(specifier, { ...context, conditions: ['@tallystick/source', ...context.conditions] });
}

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const path = fileURLToPath(url);
  const { code } = await transform(await readFile(path, 'utf8'), {
    loader: 'ts',
    target: 'node20',
    format: 'esm',
    sourcemap: 'inline',
    sourcefile: path,
  });
  return { format: 'module', shortCircuit: true, source: code };
}
