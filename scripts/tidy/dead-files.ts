/**
 * Files nobody reaches. Alive is what the entries lead to: a package's `exports` and `bin`, scripts named in the root manifest,
 * configuration, examples, `run.ts` of a test program, benches of a package, and tests. Product sources must be reached by the product: what only a test
 * imports is not shipped to anyone and belongs to the test.
 */
import type { Finding, Project } from './project.ts';

export function deadFiles(project: Project): Finding[] {
  const productEntries = [...project.packages.values()].flatMap((one) => project.entriesOf(one));
  const scripts = Object.values(project.rootManifest.scripts ?? {}).join(' ');
  const otherEntries = [...project.sources.keys()].filter(
    (path) =>
      scripts.includes(path) ||
      /\.test\.ts$|\.config\.ts$|^examples\/|^test\/[^/]+\/run\.ts$|^packages\/[^/]+\/bench\/[^/]+\.ts$/.test(path),
  );
  const shipped = reach(project, productEntries);
  const alive = reach(project, [...productEntries, ...otherEntries]);
  const findings: Finding[] = [];
  for (const path of project.sources.keys()) {
    if (!alive.has(path))
      findings.push({ path, line: 1, rule: 'dead-file', message: 'nothing imports it: remove it or connect it' });
    else if (/^packages\/[^/]+\/src\//.test(path) && !shipped.has(path))
      findings.push({ path, line: 1, rule: 'dead-file', message: 'only tests import it: move it to the tests or connect it' });
  }
  return findings;
}

function reach(project: Project, entries: readonly string[]): Set<string> {
  const seen = new Set<string>();
  const queue = [...entries];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { target } of project.sources.get(path)?.edges ?? []) if (target !== undefined) queue.push(target);
  }
  return seen;
}
