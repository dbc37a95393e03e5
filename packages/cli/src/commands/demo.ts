/**
 * `tallystick demo bank`, the main job, and the hidden commands by which the demo starts its own child processes.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { integer } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import { defectRow, defectTable, type DefectName } from '../demo/defects.ts';
import type { Path } from '../demo/faults.ts';
import type { ChildOptions } from '../demo/child-options.ts';

interface DemoFlags {
  readonly seed: number;
  readonly transfers: number;
  readonly path: Path | 'both';
  readonly data?: string;
  readonly defect?: DefectName;
  readonly json?: true;
  readonly loseUnsynced?: true;
}

export function addDemo(program: Command): void {
  const demo = program.command('demo').description('shows the whole promise on real processes, files and signals');
  demo
    .command('bank')
    .description('two banks, a broker and a checker, with everything killed that can be killed')
    .option('--seed <n>', 'who pays whom, and which fault fires at which transfer', integer(0, 0xffffffff), 1)
    .option('--transfers <n>', 'how many transfers', integer(50, 1_000_000), 400)
    .addOption(new Option('--path <path>', 'how messages are made safe').choices(['both', 'half', 'outbox']).default('both'))
    .option(
      '--data <dir>',
      "where the banks' databases and the broker's store go; kept afterwards (default: a new temporary folder)",
    )
    .addOption(
      new Option('--defect <name>', 'builds in a defect; the run must then fail').choices(defectTable.map(({ name }) => name)),
    )
    .option('--json', 'prints one JSON object as the last line')
    .addOption(new Option('--lose-unsynced', "the broker's disk forgets at a kill what was not synced").hideHelp())
    .addHelpText('after', `\nDefects:\n${defectTable.map(({ name, sentence }) => `  ${name.padEnd(22)} ${sentence}`).join('\n')}`)
    .action(runDemo);
  for (const role of ['bank-a', 'bank-a-standby', 'bank-b', 'checker'] as const) {
    program
      .command(`demo-${role}`, { hidden: true })
      .argument('<options>')
      .action(async (text: string) => {
        const { runChild } = await import('../demo/run-child.ts');
        await runChild(role, JSON.parse(text) as ChildOptions);
        // Its parent ends it.
        await new Promise<never>(() => {});
      });
  }
}

async function runDemo(flags: DemoFlags): Promise<void> {
  const { seed, transfers, path, defect } = flags;
  const wanted = defect === undefined ? undefined : defectRow(defect)?.path;
  if (wanted !== undefined && path !== 'both' && path !== wanted) {
    throw new CliError(
      `defect ${defect} needs transfers by ${wanted}, not only by ${path}`,
      `use --path ${wanted} or --path both`,
      'usage',
    );
  }
  const data = flags.data === undefined ? mkdtempSync(join(tmpdir(), 'tallystick-demo-')) : resolve(flags.data);
  const { runBankDemo } = await import('../demo/parent.ts');
  const loseUnsynced = flags.loseUnsynced === true || defect === 'ack-before-sync';
  process.exitCode = await runBankDemo({
    plan: { seed, transfers, path, defect },
    data,
    json: flags.json === true,
    loseUnsynced,
  });
}
