/**
 * No file may reach itself over imports, of values or of types: whoever reads one file of a ring must read them all. Rings are
 * the strongly connected components of the import graph (Tarjan's walk, without recursion); each is reported once, as a path.
 */
import type { Edge, Finding, Project, Source } from './project.ts';

export function cycles(project: Project): Finding[] {
  const findings: Finding[] = [];
  for (const ring of components(project)) {
    const members = new Set(ring);
    const first = ring.toSorted()[0] ?? '';
    const edge = importsOf(project.sources.get(first)).find(({ target }) => target !== undefined && members.has(target));
    if (ring.length === 1 && edge?.target !== first) continue;
    const path = wayRound(project, first, members);
    findings.push({ path: first, line: edge?.line ?? 1, rule: 'cycle', message: `imports itself: ${path.join(' → ')}` });
  }
  return findings;
}

function importsOf(source: Source | undefined): readonly Edge[] {
  return (source?.edges ?? []).filter(({ kind }) => kind !== 'named-file');
}

function components(project: Project): string[][] {
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  for (const root of project.sources.keys()) {
    if (index.has(root)) continue;
    const walk: { path: string; targets: readonly string[]; next: number }[] = [];
    const enter = (path: string): void => {
      index.set(path, index.size);
      low.set(path, index.size - 1);
      stack.push(path);
      onStack.add(path);
      const targets = importsOf(project.sources.get(path)).flatMap(({ target }) =>
        target !== undefined && project.sources.has(target) ? target : [],
      );
      walk.push({ path, targets, next: 0 });
    };
    enter(root);
    for (let top = walk.at(-1); top !== undefined; top = walk.at(-1)) {
      const target = top.targets[top.next++];
      if (target === undefined) {
        walk.pop();
        const parent = walk.at(-1);
        if (parent !== undefined) lower(low, parent.path, low.get(top.path));
        if (low.get(top.path) === index.get(top.path)) {
          const ring = stack.splice(stack.indexOf(top.path));
          for (const path of ring) onStack.delete(path);
          found.push(ring);
        }
      } else if (!index.has(target)) enter(target);
      else if (onStack.has(target)) lower(low, top.path, index.get(target));
    }
  }
  return found;
}

function lower(low: Map<string, number>, path: string, value: number | undefined): void {
  low.set(path, Math.min(low.get(path) ?? 0, value ?? 0));
}

/** The shortest way from a file back to itself inside its ring. */
function wayRound(project: Project, start: string, members: ReadonlySet<string>): string[] {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    for (const { target } of importsOf(project.sources.get(path))) {
      if (target === undefined || !members.has(target) || cameFrom.has(target)) continue;
      cameFrom.set(target, path);
      queue.push(target);
    }
    if (cameFrom.has(start)) break;
  }
  const way = [start];
  for (let path = cameFrom.get(start); path !== undefined && path !== start; path = cameFrom.get(path)) way.unshift(path);
  return [start, ...way];
}
