/** `tallystick calls`: HTTP calls that were recorded in a transaction and not made yet, why not, and what to do with them. */
import type { Command } from 'commander';
import { addMessageTable } from './message-tables.ts';

export function addCalls(program: Command): void {
  addMessageTable(program, {
    name: 'calls',
    table: 'tallystick_call',
    part: ['--channel <name>', 'the channel of the calls, if they have one'],
    says: 'looks at the HTTP calls that a database has still to make, tries them again or buries them',
    states: ['waiting', 'delayed', 'retrying', 'dead', 'buried'],
  });
}
