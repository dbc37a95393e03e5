/**
 * The core rule: in base, remoting, broker and client, everything outside shells (`shell/` folders and `*-shell.ts`) is synchronous
 * and deterministic. Time, timers, randomness, disk and sockets come in as ports, and no port bears the name of the global it
 * stands for, so a name found here is always a breach. The syntax tree is searched, hence words in comments and texts are free.
 */
import ts from 'typescript';
import { lineOf, type Finding, type Project, type Source } from './project.ts';
import { corePackages } from './ranks.ts';

/** Names that may stand nowhere: not as a global, not as a member, not as a parameter. */
const forbiddenNames = new Map<string, string>([
  ...names('take the time from the Clock port', 'Date', 'performance', 'hrtime'),
  ...names('wait through the Timers port', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'),
  ...names('end the turn through the Turn port', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'nextTick'),
  ...names('end in a callback; promises belong to shells', 'Promise', 'PromiseLike', 'AsyncIterable', 'AsyncGenerator'),
  ...names('take randomness from the Random port', 'randomUUID', 'randomBytes', 'getRandomValues'),
]);

/** Globals that may not be read; a member or a parameter of that name is nobody's global and free. */
const forbiddenGlobals = new Map<string, string>([
  ...names('core code knows no process', 'process', 'console', 'require'),
  ...names('reaches every global behind the rule', 'globalThis', 'global', 'eval'),
  ...names(
    'core code reaches the world through ports',
    'fetch',
    'crypto',
    'navigator',
    'WebSocket',
    'Worker',
    'MessageChannel',
    'BroadcastChannel',
  ),
  ...names('depends on the garbage collector or on timers', 'WeakRef', 'FinalizationRegistry', 'AbortSignal', 'Atomics'),
]);

/** Node's modules that compute and nothing else. */
const allowedModules = new Set(['node:buffer', 'node:zlib']);

export function coreRule(project: Project): Finding[] {
  return [...project.sources.values()].filter(({ path }) => isCore(path)).flatMap(breaches);
}

/** Shell files hold sockets, files and promises, and decide nothing. */
export function isShell(path: string): boolean {
  return /\/shell\/|-shell\.ts$/.test(path);
}

function isCore(path: string): boolean {
  const folder = /^packages\/([^/]+)\/src\//.exec(path)?.[1];
  return folder !== undefined && corePackages.includes(folder) && !isShell(path);
}

function breaches({ path, ast, edges }: Source): Finding[] {
  const findings: Finding[] = [];
  const report = (line: number, what: string, why: string): void => {
    findings.push({ path, line, rule: 'core', message: `${what} in core code: ${why}` });
  };
  for (const edge of edges) {
    if (edge.kind === 'dynamic') report(edge.line, 'import()', 'modules are loaded at the start');
    const isNode = edge.target === undefined && (edge.specifier.startsWith('node:') || !edge.specifier.startsWith('.'));
    if (isNode && edge.specifier.startsWith('node:') && !allowedModules.has(edge.specifier))
      report(edge.line, edge.specifier, 'only shells may import it');
    if (edge.specifier === 'node:zlib')
      for (const name of edge.names)
        if (!/Sync$|^crc32$|^constants$/.test(name))
          report(edge.line, `zlib's ${name}`, 'only crc32, constants and the …Sync calls compute in place');
  }
  const declared = declaredNames(ast);
  const visit = (node: ts.Node): void => {
    const breach = breachAt(node, declared);
    if (breach !== undefined) report(lineOf(ast, node), breach[0], breach[1]);
    ts.forEachChild(node, visit);
  };
  visit(ast);
  return findings;
}

function breachAt(node: ts.Node, declared: ReadonlySet<string>): [what: string, why: string] | undefined {
  if (ts.isAwaitExpression(node)) return ['await', 'promises belong to shells'];
  if (ts.isForOfStatement(node) && node.awaitModifier !== undefined) return ['for await', 'promises belong to shells'];
  if (node.kind === ts.SyntaxKind.AsyncKeyword) return ['async', 'promises belong to shells'];
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    const why = forbiddenNames.get(node.argumentExpression.text);
    if (why !== undefined) return [`['${node.argumentExpression.text}']`, why];
  }
  if (!ts.isIdentifier(node)) return undefined;
  const always = forbiddenNames.get(node.text);
  if (always !== undefined) return [node.text, always];
  if (isMemberName(node)) return undefined;
  if (node.text === 'Math' && !isPlainMath(node)) return ['Math.random', 'take randomness from the Random port'];
  const why = declared.has(node.text) ? undefined : forbiddenGlobals.get(node.text);
  return why === undefined ? undefined : [node.text, why];
}

/** `Math.max` and its kind; not `Math.random`, nor `Math` handed on as a whole. */
function isPlainMath(node: ts.Identifier): boolean {
  return ts.isPropertyAccessExpression(node.parent) && node.parent.name.text !== 'random';
}

/** The name of a member, where it is declared or reached: `x.process`, `{ process: 1 }`, `process(): void`. */
function isMemberName(node: ts.Identifier): boolean {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  if (ts.isQualifiedName(parent)) return parent.right === node;
  if (ts.isPropertyAssignment(parent) || ts.isPropertyDeclaration(parent) || ts.isPropertySignature(parent))
    return parent.name === node;
  if (ts.isMethodDeclaration(parent) || ts.isMethodSignature(parent) || ts.isAccessor(parent)) return parent.name === node;
  return ts.isBindingElement(parent) && parent.propertyName === node;
}

/** Every name that a file declares or imports: such a name is not the global. */
function declaredNames(ast: ts.SourceFile): Set<string> {
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    const binds =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isClassDeclaration(node) ||
      ts.isImportSpecifier(node) ||
      ts.isImportClause(node) ||
      ts.isNamespaceImport(node) ||
      ts.isTypeAliasDeclaration(node) ||
      ts.isInterfaceDeclaration(node);
    if (binds && node.name !== undefined && ts.isIdentifier(node.name)) declared.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(ast);
  return declared;
}

function names(why: string, ...all: string[]): [string, string][] {
  return all.map((name) => [name, why]);
}
