/** `tallystick inbox`: received messages whose handler has failed, why, and what to do with them. */
import type { Command } from 'commander';
import { addMessageTable } from './message-tables.ts';

export function addInbox(program: Command): void {
  addMessageTable(program, {
    name: 'inbox',
    table: 'tallystick_inbox',
    part: ['--consumer <name>', 'the consumer of the inbox, if it has one: its messages and no others'],
    says: 'looks at the messages that a database has received and not handled, tries them again or buries them',
    states: ['waiting', 'delayed', 'retrying', 'dead', 'buried', 'done'],
  });
}
