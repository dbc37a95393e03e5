/** Links in the documentation lead somewhere: every relative link of a page names a file or folder of the project. */
import { posix } from 'node:path';
import type { Finding, Project } from './project.ts';

export function links(project: Project): Finding[] {
  const findings: Finding[] = [];
  const paths = [...project.files.keys()];
  for (const [path, text] of project.files) {
    if (!path.endsWith('.md')) continue;
    text.split('\n').forEach((line, at) => {
      for (const [, link] of line.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
        const target = posix.join(posix.dirname(path), link ?? '').replace(/\/$/, '');
        if (project.files.has(target) || paths.some((file) => file.startsWith(`${target}/`))) continue;
        findings.push({ path, line: at + 1, rule: 'link', message: `nothing is at ${target}` });
      }
    });
  }
  return findings;
}
