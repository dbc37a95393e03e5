/** What a command of the tests was asked for. Its usage is the comment that its file begins with: `--help` prints it, and a mistake does. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** The values; ends the process with 0 after `--help`, with 2 when what was given cannot be understood. `file`: the command's `import.meta.url`. */
export function asked<T extends NonNullable<ParseArgsConfig['options']>>(
  file: string,
  options: T,
  args: readonly string[] = process.argv.slice(2),
): ReturnType<typeof parseArgs<{ options: T; args: string[] }>>['values'] {
  if (args.includes('--help')) {
    process.stdout.write(usageOf(file));
    process.exit(0);
  }
  try {
    return parseArgs({ options, args: [...args] }).values;
  } catch (error) {
    return refuse(file, (error as Error).message);
  }
}

/** A whole number, at least `min`. */
export function wholeNumber(file: string, option: string, text: string, min = 0): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(number) || number < min)
    refuse(file, `${option} takes a whole number, at least ${min}, not "${text}"`);
  return number;
}

export function oneOf<T extends string>(file: string, option: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  return found ?? refuse(file, `${option} takes one of ${allowed.join(', ')}, not "${text}"`);
}

export function refuse(file: string, sentence: string): never {
  process.stderr.write(`${sentence}\n\n${usageOf(file)}`);
  process.exit(2);
}

function usageOf(file: string): string {
  const [, comment = ''] = /^\/\*\*\n([^]*?)\n \*\//.exec(readFileSync(fileURLToPath(file), 'utf8')) ?? [];
  return `${comment.replaceAll(/^ \* ?/gm, '')}\n`;
}
