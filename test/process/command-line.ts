/**
 * What a command of the tests was asked for. Its usage is the comment that its file begins with, and then its tables: `--help` prints it,
 * and a mistake does.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs, type ParseArgsConfig } from 'node:util';

export interface Command {
  /** Its `import.meta.url`. */
  readonly file: string;
  /** What an option takes, where that is a table. */
  readonly tables?: Readonly<Record<string, readonly Named[]>>;
}

interface Named {
  readonly name: string;
  readonly sentence: string;
}

type Options = NonNullable<ParseArgsConfig['options']>;
type Parsed<T extends Options> = ReturnType<typeof parseArgs<{ options: T; args: string[]; allowPositionals: true }>>;

/** The values; ends the process with 0 after `--help`, with 2 when what was given cannot be understood. */
export function asked<T extends Options>(
  command: Command,
  options: T,
  args: readonly string[] = process.argv.slice(2),
): Parsed<T>['values'] {
  return parsed(command, options, args, false).values;
}

/** The same, and what was given beside the options. */
export function askedWithWords<T extends Options>(command: Command, options: T): Parsed<T> {
  return parsed(command, options, process.argv.slice(2), true);
}

function parsed<T extends Options>(command: Command, options: T, args: readonly string[], allowPositionals: boolean): Parsed<T> {
  if (args.includes('--help')) {
    process.stdout.write(usageOf(command));
    process.exit(0);
  }
  try {
    return parseArgs({ options, args: [...args], allowPositionals }) as Parsed<T>;
  } catch (error) {
    return refuse(command, (error as Error).message);
  }
}

/** A whole number, at least `min`. */
export function wholeNumber(command: Command, option: string, text: string, min = 0): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(number) || number < min)
    refuse(command, `${option} takes a whole number, at least ${min}, not "${text}"`);
  return number;
}

/** Any number, at least `min`. */
export function someNumber(command: Command, option: string, text: string, min: number): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number) || number < min)
    refuse(command, `${option} takes a number, at least ${min}, not "${text}"`);
  return number;
}

export function oneOf<T extends string>(command: Command, option: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  return found ?? refuse(command, `${option} takes one of ${allowed.join(', ')}, not "${text}"`);
}

export function refuse(command: Command, sentence: string): never {
  process.stderr.write(`${sentence}\n\n${usageOf(command)}`);
  process.exit(2);
}

function usageOf({ file, tables = {} }: Command): string {
  const [, comment = ''] = /^\/\*\*\n([^]*?)\n \*\//.exec(readFileSync(fileURLToPath(file), 'utf8')) ?? [];
  const lists = Object.entries(tables).map(([option, rows]) => {
    const wide = Math.max(...rows.map(({ name }) => name.length));
    return `\n${option} takes one of\n${rows.map(({ name, sentence }) => `  ${name.padEnd(wide)}  ${sentence}\n`).join('')}`;
  });
  return `${comment.replaceAll(/^ \* ?/gm, '')}\n${lists.join('')}`;
}
