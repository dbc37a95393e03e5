/** The program with all commands of commands.ts; nothing of it has run yet. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { exitCodes } from './cli-error.ts';
import { commands } from './commands.ts';

export function programOf(): Command {
  const program = new Command('tallystick')
    .description('Reliable messages for distributed transactions')
    .version(version())
    .showHelpAfterError('(add --help for the options)')
    .addHelpText('after', `\nExit codes:\n${exitCodeLines()}`);
  for (const add of commands) add(program);
  for (const command of withSubcommands(program)) command.exitOverride();
  return program;
}

/** This package's, from the sources as from `dist`. */
function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

function exitCodeLines(): string {
  return Object.values(exitCodes)
    .map(({ code, sentence }) => `  ${String(code).padStart(3)}  ${sentence}`)
    .join('\n');
}
