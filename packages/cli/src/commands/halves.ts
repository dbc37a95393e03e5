/** `tallystick halves`: half messages that have no verdict yet, open ones and those that are parked because nobody could say. */
import type { Command } from 'commander';
import { withBroker, type BrokerFlag } from './connection.ts';

interface HalvesFlags extends BrokerFlag {
  readonly json?: true;
}

export function addHalves(program: Command): void {
  withBroker(program.command('halves'))
    .description('lists half messages without a verdict: open, and parked (check-backs used up, settled only by a late answer)')
    .action(halves);
}

async function halves(flags: HalvesFlags): Promise<void> {
  const { readHalves } = await import('../broker-info.ts');
  const { open, parked, rows } = await readHalves(flags.broker);
  if (flags.json) {
    for (const row of rows) console.log(JSON.stringify(row));
    return;
  }
  if (open + parked === 0) {
    console.log('no half message is without a verdict');
    return;
  }
  const { default: Table } = await import('cli-table3');
  const table = new Table({ head: ['id', 'state', 'group', 'topic', 'age s', 'checks'], style: { head: [], border: [] } });
  for (const { id, state, group, topic, ageMs, checks } of rows)
    table.push([id, state, group, topic, (ageMs / 1000).toFixed(1), checks]);
  console.log(table.toString());
  console.log(`${open} open, ${parked} parked${open + parked > rows.length ? `; the first ${rows.length} are shown` : ''}`);
}
