/**
 * Import direction: between packages, between folders inside a package (both by the tables in `ranks.ts`), from core to shell
 * (never), and through the front door: another package is reached by its name and its `exports`, not by a path into it.
 */
import { isShell } from './core-rule.ts';
import type { Edge, Finding, Package, Project, Source } from './project.ts';
import { packageNameOf } from './project.ts';
import { corePackages, folderRanks, openedBy, packageRanks } from './ranks.ts';

export function layering(project: Project): Finding[] {
  const findings: Finding[] = [];
  const report = (source: Source, edge: Edge, rule: string, message: string): void => {
    findings.push({ path: source.path, line: edge.line, rule, message });
  };
  const sideways = new Map<string, { source: Source; edge: Edge }>();
  for (const source of project.sources.values()) {
    const home = project.packageOf(source.path);
    for (const edge of source.edges) {
      if (edge.kind === 'named-file') continue;
      const door = frontDoor(project, source, home, edge);
      if (door !== undefined) report(source, edge, 'deep-import', door);
      if (home === undefined || !isProductSource(source.path)) continue;
      const guest =
        edge.target === undefined ? project.packages.get(packageNameOf(edge.specifier)) : project.packageOf(edge.target);
      if (guest !== undefined && guest !== home) {
        if (rankOf(packageRanks, guest.folder) >= rankOf(packageRanks, home.folder))
          report(source, edge, 'package-direction', `${home.folder} may not import ${guest.folder}: imports point down only`);
      } else if (edge.target !== undefined && isProductSource(edge.target)) {
        const message = folderDirection(home.folder, source, edge, edge.target, sideways);
        if (message !== undefined) report(source, edge, 'folder-direction', message);
      }
      if (corePackages.includes(home.folder) && edge.target !== undefined && !isDoor(project, home, source.path)) {
        if (!isShell(source.path) && isShell(edge.target))
          report(source, edge, 'core-imports-shell', `core code may not import the shell file ${edge.target}`);
      }
    }
  }
  return findings;
}

/** A package's own `src`, tests not. */
function isProductSource(path: string): boolean {
  return /^packages\/[^/]+\/src\//.test(path);
}

/** Entry files gather core and shell for the user; they may import both. */
function isDoor(project: Project, home: Package, path: string): boolean {
  return project.entriesOf(home).includes(path);
}

function frontDoor(project: Project, source: Source, home: Package | undefined, edge: Edge): string | undefined {
  if (edge.specifier.startsWith('.')) {
    const guest = edge.target === undefined ? undefined : project.packageOf(edge.target);
    if (guest === undefined || guest === home) return undefined;
    if (openedBy.some(({ proof, part }) => source.path.startsWith(proof) && edge.target?.startsWith(part))) return undefined;
    return `import ${guest.manifest.name} by its name, not by a path into it`;
  }
  const guest = project.packages.get(packageNameOf(edge.specifier));
  if (guest === undefined || edge.target !== undefined) return undefined;
  return `${edge.specifier} is not among the exports of ${guest.manifest.name}`;
}

function folderDirection(
  folder: string,
  source: Source,
  edge: Edge,
  target: string,
  sideways: Map<string, { source: Source; edge: Edge }>,
): string | undefined {
  const table = folderRanks[folder];
  if (table === undefined) return undefined;
  const from = firstPart(source.path);
  const to = firstPart(target);
  for (const part of [from, to])
    if (!part.includes('.') && rankOf(table, part) < 0)
      return `folder ${folder}/src/${part} has no rank: give it one in scripts/tidy/ranks.ts`;
  if (from === to) return undefined;
  const [above, below] = [rankOf(table, from), rankOf(table, to)];
  if (above < 0 || below < 0) return undefined;
  if (below > above) return `${from} may not import ${to}: imports point down only`;
  if (below < above) return undefined;
  const back = sideways.get(`${folder}:${to}→${from}`);
  if (back === undefined) {
    sideways.set(`${folder}:${from}→${to}`, { source, edge });
    return undefined;
  }
  return `${from} and ${to} import each other (the other way: ${back.source.path}:${back.edge.line})`;
}

function firstPart(path: string): string {
  return path.split('/')[3] ?? '';
}

function rankOf(table: readonly (readonly string[])[], name: string): number {
  return table.findIndex((row) => row.includes(name));
}
