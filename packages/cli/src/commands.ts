/** All commands, in the order in which --help lists them. Each file adds its own to the program; heavy imports wait until it runs. */
import type { Command } from 'commander';
import { addAlarms } from './commands/alarms.ts';
import { addBroker } from './commands/broker.ts';
import { addCalls } from './commands/calls.ts';
import { addConsume } from './commands/consume.ts';
import { addDemo } from './commands/demo.ts';
import { addHalves } from './commands/halves.ts';
import { addInbox } from './commands/inbox.ts';
import { addMigrate } from './commands/migrate.ts';
import { addOutbox } from './commands/outbox.ts';
import { addSend } from './commands/send.ts';
import { addTopic } from './commands/topic.ts';

export const commands: readonly ((program: Command) => void)[] = [
  addDemo,
  addBroker,
  addSend,
  addConsume,
  addTopic,
  addHalves,
  addMigrate,
  addOutbox,
  addInbox,
  addCalls,
  addAlarms,
];
