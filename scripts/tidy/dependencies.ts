/**
 * What a package imports is what its manifest declares, no less and no more: nothing undeclared, nothing unused, nothing of a
 * third party in core packages, and every version exact. Tests and scripts may also use the root's tools and every workspace package.
 */
import { isBuiltin } from 'node:module';
import type { Finding, Manifest, Package, Project } from './project.ts';
import { packageNameOf } from './project.ts';
import { corePackages } from './ranks.ts';

export function dependencies(project: Project): Finding[] {
  return [...undeclared(project), ...[...project.packages.values()].flatMap((one) => unusedOrForbidden(project, one))];
}

function undeclared(project: Project): Finding[] {
  const findings: Finding[] = [];
  const tools = new Set([...declaredBy(project.rootManifest, true), ...project.packages.keys()]);
  for (const { path, edges } of project.sources.values()) {
    const home = project.packageOf(path);
    const isProduct = home !== undefined && path.includes('/src/');
    const declared = new Set(home === undefined ? [] : declaredBy(home.manifest, !isProduct));
    for (const { specifier, line, kind } of edges) {
      if (specifier.startsWith('.') || kind === 'named-file') continue;
      const name = packageNameOf(specifier);
      if (isBuiltin(specifier)) {
        if (!specifier.startsWith('node:'))
          findings.push({ path, line, rule: 'node-prefix', message: `write node:${specifier}` });
      } else if (!declared.has(name) && (isProduct || !tools.has(name))) {
        findings.push({
          path,
          line,
          rule: 'undeclared',
          message: `${name} is not a dependency in ${home === undefined ? '' : `packages/${home.folder}/`}package.json`,
        });
      }
    }
  }
  return findings;
}

function unusedOrForbidden(project: Project, { folder, manifest }: Package): Finding[] {
  const path = `packages/${folder}/package.json`;
  const lineOf = (name: string): number =>
    (project.files.get(path) ?? '').split('\n').findIndex((line) => line.includes(`"${name}"`)) + 1;
  const used = new Set<string>();
  for (const source of project.sources.values())
    if (source.path.startsWith(`packages/${folder}/`))
      for (const { specifier } of source.edges) used.add(packageNameOf(specifier));
  const findings: Finding[] = [];
  for (const [name, version] of Object.entries(manifest.dependencies ?? {})) {
    const report = (rule: string, message: string): number => findings.push({ path, line: lineOf(name), rule, message });
    if (!used.has(name)) report('unused', `${name} is declared and never imported`);
    if (!/^\d+\.\d+\.\d+$/.test(version)) report('exact-version', `${name} ${version}: pin one version`);
    if (corePackages.includes(folder) && !project.packages.has(name))
      report('core-dependency', `${folder} takes no third-party code at run time, not even ${name}`);
  }
  return findings;
}

function declaredBy(manifest: Manifest, withTools: boolean): string[] {
  return Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...(withTools ? manifest.devDependencies : {}) });
}
