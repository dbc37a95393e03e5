/**
 * What the statements of a text do to the transaction they run in, read from the text itself: in any case, with comments before and between
 * the words, several statements in one text. The server tags a rollback to a savepoint, a rollback and a rollback that chains alike, and
 * names no savepoint, so for these there is nothing but the text.
 */

export type Control =
  | { readonly does: 'end'; readonly chains: boolean }
  /** `name` is undefined where it is written in a way that is not read here. */
  | { readonly does: 'save' | 'release' | 'undo'; readonly name: string | undefined };

/** One entry per statement, in order; undefined for a statement that leaves the transaction as it is, or begins one. */
export function controlsOf(text: string): readonly (Control | undefined)[] {
  return statementsOf(text).map(controlOf);
}

/** The first statement of a text that ends the transaction: its place among the statements, and whether another transaction follows at once. */
export function endOf(text: string): { readonly at: number; readonly chains: boolean } | undefined {
  if (!MAY_END.test(text)) return undefined;
  const controls = controlsOf(text);
  const at = controls.findIndex((control) => control?.does === 'end');
  const found = controls[at];
  return found?.does === 'end' ? { at, chains: found.chains } : undefined;
}

/** Nearly every text is none of these, and need not be read. */
const MAY_END = /\b(commit|end|abort|rollback|prepare)\b/i;

function controlOf(words: readonly string[]): Control | undefined {
  const rest = words[1] === 'work' || words[1] === 'transaction' ? words.slice(2) : words.slice(1);
  switch (words[0]) {
    case 'commit':
    case 'end':
    case 'abort':
      return words[1] === 'prepared' ? undefined : { does: 'end', chains: chains(rest) };
    case 'rollback':
      if (words[1] === 'prepared') return undefined;
      return rest[0] === 'to' ? { does: 'undo', name: nameIn(rest.slice(1)) } : { does: 'end', chains: chains(rest) };
    case 'prepare':
      return words[1] === 'transaction' ? { does: 'end', chains: false } : undefined;
    case 'savepoint':
      return { does: 'save', name: nameOf(words.slice(1)) };
    case 'release':
      return { does: 'release', name: nameIn(words.slice(1)) };
    default:
      return undefined;
  }
}

function chains(words: readonly string[]): boolean {
  return words[0] === 'and' && words[1] === 'chain';
}

function nameIn(words: readonly string[]): string | undefined {
  return nameOf(words[0] === 'savepoint' && words.length > 1 ? words.slice(1) : words);
}

function nameOf([name, ...more]: readonly string[]): string | undefined {
  if (name === undefined || more.length > 0) return undefined;
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

/** The first words of each statement, in lower case unless they are quoted. */
function statementsOf(text: string): readonly (readonly string[])[] {
  // The body of a function has statements of its own, which are none of the transaction's.
  if (/\bbegin\s+atomic\b/i.test(text)) return [];
  const statements: string[][] = [];
  let words: string[] = [];
  for (let at = 0; at < text.length;) {
    if (text.startsWith('/*', at)) {
      at = afterComment(text, at);
      continue;
    }
    TOKEN.lastIndex = at;
    const [token] = TOKEN.exec(text) ?? [text.slice(at)];
    at += token.length;
    if (token === ';') {
      if (words.length > 0) statements.push(words);
      words = [];
    } else if (!/^(\s|--)/.test(token) && words.length < WORDS_MAX) {
      words.push(token.startsWith('"') ? token : token.toLowerCase());
    }
  }
  if (words.length > 0) statements.push(words);
  return statements;
}

/** `rollback transaction to savepoint name`, and one more to see that there is no more. */
const WORDS_MAX = 6;

/** White space, a comment to the end of its line, a string, one with escapes, one between dollars, a quoted name, a word, anything else. */
const TOKEN =
  /\s+|--[^\n]*|e'(?:[^'\\]|\\[^]|'')*'|'(?:[^']|'')*'|\$([a-z_]\w*)?\$[^]*?\$\1\$|"(?:[^"]|"")*"|[\w$\u0080-\uffff]+|[^]/iy;

/** Such comments contain one another. */
function afterComment(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const pair = text.slice(at, at + 2);
    if (pair === '/*') depth++;
    else if (pair === '*/') depth--;
    else continue;
    at++;
    if (depth === 0) return at + 1;
  }
  return text.length;
}
