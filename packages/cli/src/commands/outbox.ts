/** `tallystick outbox`: messages that have not left, why not, and what to do with them. */
import type { Command } from 'commander';
import { addMessageTable } from './message-tables.ts';

export function addOutbox(program: Command): void {
  addMessageTable(program, {
    name: 'outbox',
    table: 'tallystick_outbox',
    part: ['--channel <name>', 'the channel of the outbox, if it has one'],
    says: 'looks at the messages that a database has still to send, tries them again or buries them',
    states: ['waiting', 'delayed', 'retrying', 'dead', 'buried', 'sent', 'confirmed'],
  });
}
