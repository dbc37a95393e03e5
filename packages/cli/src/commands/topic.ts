/** `tallystick topic create | list`. */
import { Option, type Command } from 'commander';
import { integer } from '../arguments.ts';
import { usingBroker, withBroker, type BrokerFlag } from './connection.ts';

interface TopicFlags extends BrokerFlag {
  readonly queues: number;
  readonly timestamps?: 'created' | 'appended';
  readonly json?: true;
}

interface ListFlags extends BrokerFlag {
  readonly all?: true;
  readonly json?: true;
}

export function addTopic(program: Command): void {
  const topic = program.command('topic').description('makes and lists topics');
  withBroker(topic.command('create'))
    .description('makes a topic; one that is there keeps its messages and never gets fewer queues')
    .argument('<name>')
    .option('--queues <n>', 'how many queues', integer(1, 1_024), 8)
    .addOption(
      new Option('--timestamps <whose>', "whose time messages bear: their sender's or the broker's").choices([
        'created',
        'appended',
      ]),
    )
    .action(create);
  withBroker(topic.command('list'))
    .description('lists the topics')
    .option('--all', "the broker's own topics, retries and dead letters too")
    .action(list);
}

async function create(name: string, flags: TopicFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    await client.admin().createTopic(name, flags.queues, { timestamps: flags.timestamps });
    console.log(flags.json ? JSON.stringify({ topic: name, queues: flags.queues }) : `topic ${name} has ${flags.queues} queues`);
  });
}

async function list(flags: ListFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    const topics = await client.admin().topicList();
    for (const topic of topics.filter((name) => flags.all === true || !isOwn(name)))
      console.log(flags.json ? JSON.stringify({ topic }) : topic);
  });
}

/** Topics that RocketMQ's brokers have by themselves; one name is the cluster's and one the broker's. */
const ownTopics = new Set([
  'SELF_TEST_TOPIC',
  'TBW102',
  'BenchmarkTest',
  'OFFSET_MOVED_EVENT',
  'SCHEDULE_TOPIC_XXXX',
  'TRANS_CHECK_MAX_TIME_TOPIC',
]);
const ownForms = /^%(RETRY|DLQ)%|^RMQ_SYS_|_REPLY_TOPIC$|^DefaultCluster$|^broker-a$/;

function isOwn(name: string): boolean {
  return ownTopics.has(name) || ownForms.test(name);
}
