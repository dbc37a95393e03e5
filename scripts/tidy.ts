/**
 * `npm run tidy`: facts about the sources that no compiler checks, each found by a file in `tidy/`. It judges facts only (who may
 * import whom, what core code may name, what nobody reaches); taste stays with STYLE.md. A finding names the place and what to do.
 */
import { coreRule } from './tidy/core-rule.ts';
import { cycles } from './tidy/cycles.ts';
import { deadFiles } from './tidy/dead-files.ts';
import { dependencies } from './tidy/dependencies.ts';
import { layering } from './tidy/layering.ts';
import { links } from './tidy/links.ts';
import { Project, readTree, type Finding } from './tidy/project.ts';
import { words } from './tidy/words.ts';

const checks: readonly ((project: Project) => Finding[])[] = [layering, cycles, coreRule, dependencies, deadFiles, links, words];

const project = new Project(readTree(process.cwd()));
const findings = checks.flatMap((check) => check(project));
for (const { path, line, rule, message } of findings) console.error(`${path}:${line} [${rule}] ${message}`);
console.log(`tidy: ${project.sources.size} sources, ${checks.length} checks, ${findings.length} findings`);
if (findings.length > 0) process.exitCode = 1;
