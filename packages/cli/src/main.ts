/**
 * The command line: runs the command that was asked for and turns what it throws into a sentence and an exit code. A command
 * never calls `process.exit` to report a failure; it throws a CliError.
 */
import { CommanderError } from 'commander';
import { CliError, exitCodes } from './cli-error.ts';
import { programOf } from './program.ts';

// A reader that has seen enough (`| head`) ends the command in silence.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(exitCodes.ok.code);
});
const code = await run(process.argv);
// What a command left open (a connection that does not close, a timer) must not keep it from ending.
process.stdout.write('', () => process.exit(code));

async function run(argv: readonly string[]): Promise<number> {
  const program = programOf();
  try {
    await program.parseAsync(argv);
    return Number(process.exitCode ?? exitCodes.ok.code);
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage.code;
  if (error instanceof CliError) {
    console.error(`tallystick: ${error.message}; ${error.next}`);
    return exitCodes[error.kind].code;
  }
  console.error(error);
  return exitCodes.internal.code;
}
