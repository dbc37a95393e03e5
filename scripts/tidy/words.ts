/**
 * Words that must stand in no file: the project is read and run elsewhere, so it names no folder of the machine it was written on,
 * nothing beside its own folder, and no registry host (the reader's own client knows where packages come from).
 */
import type { Finding, Project } from './project.ts';

const forbidden: readonly { pattern: RegExp; why: string }[] = [
  { pattern: /(?<![\w.])\/(?:work|farm|root|home)\/[\w.]/, why: 'a folder of one machine' },
  { pattern: /\.\.\/(?:\.\.\/)*shared\b/, why: 'a folder outside the project' },
  { pattern: /https?:\/\/(?:registry|repo1?|deb|proxy|mirror)\.[a-z]/i, why: 'a registry host' },
  { pattern: /^ *"resolved": "https?:/m, why: 'the lock names no hosts (omit-lockfile-registry-resolved)' },
  {
    pattern: /\/\/ *@ts-(?:ignore|nocheck)|\boxlint-disable(?!-next-line|-line)/,
    why: 'a check switched off; name one line and one rule instead',
  },
];

export function words(project: Project): Finding[] {
  const findings: Finding[] = [];
  for (const [path, text] of project.files) {
    if (path.startsWith('scripts/tidy/words')) continue;
    for (const { pattern, why } of forbidden) {
      if (!pattern.test(text)) continue;
      text.split('\n').forEach((line, at) => {
        const found = pattern.exec(line);
        if (found !== null) findings.push({ path, line: at + 1, rule: 'words', message: `"${found[0]}": ${why}` });
      });
    }
  }
  return findings;
}
