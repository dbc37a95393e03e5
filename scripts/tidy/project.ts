/**
 * The sources as tidy sees them: a map of path → text, made from a folder or, in tests, by hand. Parses every TypeScript and
 * JavaScript file once, and lists what each one points at. An edge is an import (of a value or of types only), a re-export, a
 * dynamic import, or a string that names an existing source relative to its file (worker and child-process entries).
 */
import { readFileSync, readdirSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import ts from 'typescript';

export interface Finding {
  path: string;
  line: number;
  rule: string;
  message: string;
}

export interface Edge {
  specifier: string;
  line: number;
  kind: 'value' | 'types' | 'dynamic' | 'named-file';
  /** Names taken by a named import; empty for other shapes. */
  names: readonly string[];
  /** The project's file it leads to; undefined for Node's and third-party modules. */
  target: string | undefined;
}

export interface Source {
  path: string;
  ast: ts.SourceFile;
  edges: readonly Edge[];
}

export interface Manifest {
  name: string;
  exports?: Record<string, Record<string, string> | string>;
  bin?: Record<string, string> | string;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

export interface Package {
  /** Folder name under `packages/`. */
  folder: string;
  manifest: Manifest;
}

export const sourceCondition = '@tallystick/source';

export class Project {
  readonly files: ReadonlyMap<string, string>;
  readonly packages = new Map<string, Package>();
  readonly sources = new Map<string, Source>();
  readonly rootManifest: Manifest;

  constructor(files: ReadonlyMap<string, string>) {
    this.files = files;
    this.rootManifest = this.#manifest('package.json');
    for (const path of files.keys()) {
      const folder = /^packages\/([^/]+)\/package\.json$/.exec(path)?.[1];
      if (folder !== undefined) {
        const manifest = this.#manifest(path);
        this.packages.set(manifest.name, { folder, manifest });
      }
    }
    for (const [path, text] of files) {
      if (!/\.(ts|tsx|js|mjs)$/.test(path)) continue;
      const ast = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
      this.sources.set(path, { path, ast, edges: this.#edges(path, ast) });
    }
  }

  /** The folder under `packages/` that holds a path, if one does. */
  packageOf(path: string): Package | undefined {
    const folder = /^packages\/([^/]+)\//.exec(path)?.[1];
    for (const one of this.packages.values()) if (one.folder === folder) return one;
    return undefined;
  }

  /** Source files that a package's `exports` and `bin` name. */
  entriesOf({ folder, manifest }: Package): string[] {
    const named = Object.values(manifest.exports ?? {}).flatMap((target) =>
      typeof target === 'string' ? [target] : (target[sourceCondition] ?? []),
    );
    const bins = typeof manifest.bin === 'string' ? [manifest.bin] : Object.values(manifest.bin ?? {});
    return [...named, ...bins].map((target) => posix.join('packages', folder, target));
  }

  #manifest(path: string): Manifest {
    return JSON.parse(this.files.get(path) ?? '{"name":""}') as Manifest;
  }

  #edges(path: string, ast: ts.SourceFile): Edge[] {
    const edges: Edge[] = [];
    const add = (node: ts.Expression, kind: Edge['kind'], names: readonly string[] = []): void => {
      if (!ts.isStringLiteralLike(node)) return;
      edges.push({ specifier: node.text, line: lineOf(ast, node), kind, names, target: this.#resolve(path, node.text) });
    };
    const visit = (node: ts.Node): void => {
      if (ts.isImportDeclaration(node)) {
        const clause = node.importClause;
        const named =
          clause?.namedBindings !== undefined && ts.isNamedImports(clause.namedBindings) ? clause.namedBindings.elements : [];
        const names = named.map((element) => (element.propertyName ?? element.name).text);
        add(node.moduleSpecifier, clause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'types' : 'value', names);
      } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
        add(node.moduleSpecifier, node.isTypeOnly ? 'types' : 'value');
      } else if (
        ts.isCallExpression(node) &&
        node.expression.kind === ts.SyntaxKind.ImportKeyword &&
        node.arguments[0] !== undefined
      ) {
        add(node.arguments[0], 'dynamic');
      } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
        add(node.argument.literal, 'types');
      } else if (
        ts.isStringLiteralLike(node) &&
        /\.(ts|js)$/.test(node.text) &&
        this.#fileNamed(path, node.text) !== undefined &&
        !isSpecifier(node)
      ) {
        edges.push({
          specifier: node.text,
          line: lineOf(ast, node),
          kind: 'named-file',
          names: [],
          target: this.#fileNamed(path, node.text),
        });
      }
      if (ts.isTemplateExpression(node)) {
        for (const target of this.#filesLike(path, node))
          edges.push({ specifier: target, line: lineOf(ast, node), kind: 'named-file', names: [], target });
      }
      ts.forEachChild(node, visit);
    };
    visit(ast);
    return edges;
  }

  #resolve(from: string, specifier: string): string | undefined {
    if (specifier.startsWith('.')) return this.#fileNamed(from, specifier);
    if (isBuiltin(specifier)) return undefined;
    const name = packageNameOf(specifier);
    const found = this.packages.get(name);
    const target = found?.manifest.exports?.[`.${specifier.slice(name.length)}`];
    if (found === undefined || target === undefined || typeof target === 'string') return undefined;
    const source = target[sourceCondition];
    return source === undefined ? undefined : posix.join('packages', found.folder, source);
  }

  /** Project files beside `from` that a template with holes can name: `./${work}-client.ts`. */
  #filesLike(from: string, template: ts.TemplateExpression): string[] {
    const parts = [template.head.text, ...template.templateSpans.map(({ literal }) => literal.text)];
    if (!/\.(ts|js)$/.test(parts.at(-1) ?? '')) return [];
    const folder = posix.dirname(from);
    const [first = '', ...rest] = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const pattern = new RegExp(`^${[first.replace(/^\\\.\//, ''), ...rest].join('[^/]+')}$`);
    return [...this.files.keys()].filter((path) => posix.dirname(path) === folder && pattern.test(posix.basename(path)));
  }

  /** A project file that a string names, relative to its own file or to the root. */
  #fileNamed(from: string, name: string): string | undefined {
    const beside = posix.join(posix.dirname(from), name);
    if (this.files.has(beside)) return beside;
    return this.files.has(posix.normalize(name)) ? posix.normalize(name) : undefined;
  }
}

/** `@scope/name` or `name`, without a subpath. */
export function packageNameOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

export function lineOf(ast: ts.SourceFile, node: ts.Node): number {
  return ast.getLineAndCharacterOfPosition(node.getStart(ast)).line + 1;
}

/** Every text file under a folder, without what is installed, built or private to git. Paths are relative, with `/`. */
export function readTree(root: string): Map<string, string> {
  const skipped = new Set(['node_modules', 'dist', 'coverage', 'target', '.git', '.tmp']);
  const files = new Map<string, string>();
  const walk = (folder: string): void => {
    for (const entry of readdirSync(posix.join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory() && !skipped.has(entry.name)) walk(path);
      else if (entry.isFile() && !/\.(png|ico|db|img|jar)$/.test(path))
        files.set(path, readFileSync(posix.join(root, path), 'utf8'));
    }
  };
  walk('.');
  return files;
}

function isSpecifier(node: ts.Node): boolean {
  const parent = node.parent;
  return (
    ts.isImportDeclaration(parent) ||
    ts.isExportDeclaration(parent) ||
    ts.isLiteralTypeNode(parent) ||
    (ts.isCallExpression(parent) && parent.expression.kind === ts.SyntaxKind.ImportKeyword)
  );
}
