/** `tallystick alarms silence`: nobody is told of an alarm for a while, in no process that watches this database. */
import { Option, type Command } from 'commander';
import { durationMs } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import { usingDatabase, withDatabase, type DatabaseFlag } from '../database.ts';

interface SilenceFlags extends DatabaseFlag {
  readonly for: number;
  readonly channel?: string;
  readonly json?: true;
}

export function addAlarms(program: Command): void {
  const alarms = program.command('alarms').description('alarms of outbox, inbox and calls');
  withDatabase(alarms.command('silence'))
    .description('hides an alarm, or all of them, for a while; who heard that one was raised still hears that it is over')
    .argument('[kind]', 'such as dead, oldest-unsent or blocked-keys; all when absent')
    .addOption(new Option('--for <time>', 'how long; 0s ends a silence').argParser(durationMs).makeOptionMandatory())
    .option('--channel <name>', 'the channel of the alarms, if they have one')
    .action(silence);
}

async function silence(kind: string | undefined, flags: SilenceFlags): Promise<void> {
  const { createAlarms, TOLD_KINDS } = await import('@tallystick/reliable');
  if (kind !== undefined && !TOLD_KINDS.includes(kind))
    throw new CliError(
      `no alarm is of kind ${JSON.stringify(kind)}`,
      `give one of ${TOLD_KINDS.join(', ')}, or none for all`,
      'usage',
    );
  await usingDatabase(flags, async ({ db, name }) => {
    const until = Date.now() + flags.for;
    const alarms = createAlarms({ db, channel: flags.channel });
    await alarms.silence(until, kind);
    const at = new Date(until).toISOString();
    if (flags.json) console.log(JSON.stringify({ database: name, kind: kind ?? '*', until }));
    else if (flags.for === 0) console.log(`${kind ?? 'every alarm'} is told again`);
    else console.log(`${kind ?? 'every alarm'} is silent until ${at}`);
  });
}
