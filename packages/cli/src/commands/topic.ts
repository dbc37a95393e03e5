/** `tallystick topic create | list`. */
import type { Command } from 'commander';
import { integer } from '../arguments.ts';
import { usingBroker, withBroker, type BrokerFlag } from './connection.ts';

interface TopicFlags extends BrokerFlag {
  readonly queues: number;
  readonly json?: true;
}

export function addTopic(program: Command): void {
  const topic = program.command('topic').description('makes and lists topics');
  withBroker(topic.command('create'))
    .description('makes a topic; one that is there keeps its messages')
    .argument('<name>')
    .option('--queues <n>', 'how many queues', integer(1, 1_024), 8)
    .action(create);
  withBroker(topic.command('list')).description('lists the topics').action(list);
}

async function create(name: string, flags: TopicFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    await client.admin().createTopic(name, flags.queues);
    console.log(flags.json ? JSON.stringify({ topic: name, queues: flags.queues }) : `topic ${name} has ${flags.queues} queues`);
  });
}

async function list(flags: TopicFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    for (const topic of await client.admin().topicList()) console.log(flags.json ? JSON.stringify({ topic }) : topic);
  });
}
