/** `tallystick migrate`: makes or upgrades the tables of outbox, inbox and what belongs to them; with --dry-run only prints the SQL that would be run. */
import type { Command } from 'commander';
import { usingDatabase, withDatabase, type DatabaseFlag } from '../database.ts';

interface MigrateFlags extends DatabaseFlag {
  readonly dryRun?: true;
  readonly json?: true;
}

export function addMigrate(program: Command): void {
  withDatabase(program.command('migrate'))
    .description('makes or upgrades the tables in a database; harmless when they are there, also while they are in use')
    .option('--dry-run', 'prints the SQL that would be run, and runs none')
    .action(migrateTables);
}

async function migrateTables(flags: MigrateFlags): Promise<void> {
  const { migrate, migrationPlan } = await import('@tallystick/reliable');
  await usingDatabase(
    flags,
    async ({ db, name }) => {
      const place = flags.schema === undefined ? name : `${name}, schema ${flags.schema}`;
      if (flags.dryRun === true) {
        const { from, to, sql, statements } = await migrationPlan(db, { schema: flags.schema });
        if (flags.json) console.log(JSON.stringify({ database: name, from, to, dryRun: true, statements }));
        else if (statements.length === 0) console.log(`-- ${place} is at version ${to}: nothing to do`);
        else console.log(`-- ${place}, from version ${from} to ${to}\n${sql.trimEnd()}`);
        return;
      }
      const { from, to } = await migrate(db, { schema: flags.schema });
      if (flags.json) console.log(JSON.stringify({ database: name, from, to, dryRun: false }));
      else console.log(from === to ? `${place} is at version ${to}: nothing to do` : `${place}: version ${from} → ${to}`);
    },
    flags.dryRun === true ? 'pretend' : 'create',
  );
}
