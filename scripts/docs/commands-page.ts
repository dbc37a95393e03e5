/** `docs/reference/commands.md`: every command of the command line with its options, from the commands themselves. */
import type { programOf } from '../../packages/cli/src/program.ts';

type Command = ReturnType<typeof programOf>;

export function commandsPage(
  program: Command,
  exitCodes: Readonly<Record<string, { readonly code: number; readonly sentence: string }>>,
): string {
  const head = '<!-- Made from the commands of packages/cli by scripts/docs.ts. Do not edit. -->\n\n# Commands';
  const note =
    'Of `tallystick`, in a clone `npm exec -- tallystick`. Values of time are written as 500ms, 90s, 10m, 2h or 3d. A failure that a person can act on is one sentence on standard error, with what to do next.';
  const codes = Object.values(exitCodes).map(({ code, sentence }) => `| ${code} | ${cell(sentence)} |`);
  const parts = leaves(program, '').map(section);
  return `${[head, note, ...parts, ['## Exit codes', '', '| code | meaning |', '|---|---|', ...codes].join('\n')].join('\n\n')}\n`;
}

interface Leaf {
  readonly name: string;
  readonly command: Command;
}

/** Commands without commands of their own, hidden ones left out, in the order of --help. */
function leaves(command: Command, above: string): Leaf[] {
  const visible = command.createHelp().visibleCommands(command);
  return visible
    .filter((one) => one.name() !== 'help')
    .flatMap((one) => {
      const name = `${above}${one.name()}`;
      return one.commands.length > 0 ? leaves(one, `${name} `) : [{ name, command: one }];
    });
}

function section({ name, command }: Leaf): string {
  const args = command.registeredArguments.map((one) => {
    const shown = one.variadic ? `${one.name()}...` : one.name();
    return one.required ? ` <${shown}>` : ` [${shown}]`;
  });
  const options = command.options
    .filter(({ hidden }) => !hidden)
    .map(({ flags, description, argChoices, defaultValue, defaultValueDescription }) => {
      const choices = argChoices === undefined ? '' : ` (${argChoices.join(', ')})`;
      const fallback: unknown = defaultValueDescription ?? defaultValue;
      return `| \`${cell(flags)}\` | ${fallback === undefined ? '–' : `\`${typeof fallback === 'string' ? fallback : JSON.stringify(fallback)}\``} | ${cell(description + choices)} |`;
    });
  const table = options.length === 0 ? [] : ['', '| option | default | meaning |', '|---|---|---|', ...options];
  return [`## ${name}`, '', `\`tallystick ${name}${args.join('')} [options]\`: ${command.description()}.`, ...table].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
