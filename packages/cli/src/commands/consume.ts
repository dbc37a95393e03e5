/** `tallystick consume`: prints the messages of a topic as a member of a consumer group, and acknowledges what it has printed. */
import type { Client, ConsumedMessage } from '@tallystick/client';
import { Option, type Command } from 'commander';
import { integer } from '../arguments.ts';
import { usingBroker, withBroker, type BrokerFlag } from './connection.ts';

interface ConsumeFlags extends BrokerFlag {
  readonly group: string;
  readonly from: 'first' | 'last';
  readonly tag: string;
  readonly max?: number;
  readonly timeout?: number;
  readonly json?: true;
}

export function addConsume(program: Command): void {
  withBroker(program.command('consume'))
    .description('prints the messages of a topic until Ctrl-C, --max or --timeout')
    .argument('<topic>')
    .option('--group <name>', 'consumer group; its offsets are kept by the broker', 'tallystick-cli')
    .addOption(
      new Option('--from <where>', 'where a group without an offset starts; a topic made later is printed from its first message')
        .choices(['first', 'last'])
        .default('last'),
    )
    .option('--tag <expression>', 'only these tags, with || between them', '*')
    .option('--max <n>', 'ends after so many messages', integer(1))
    .option('--timeout <ms>', 'ends when no message came for so long', integer(1))
    .action(consume);
}

async function consume(topic: string, flags: ConsumeFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    let idle = flags.timeout === undefined ? undefined : setTimeout(end, flags.timeout);
    let printed = 0;
    const max = flags.max ?? Infinity;
    const consumer = client.consumer({
      group: flags.group,
      topics: { [topic]: flags.tag },
      from: flags.from,
      concurrency: 1,
      handler: (message: ConsumedMessage) => {
        // What comes after the last one wanted is not acknowledged: it is for the next reader of the group.
        if (printed >= max) return new Promise<void>(() => {});
        print(message, flags.json === true);
        printed++;
        if (idle !== undefined) {
          clearTimeout(idle);
          idle = setTimeout(end, flags.timeout);
        }
        if (printed >= max) setImmediate(end);
        return undefined;
      },
      closeTimeoutMs: 0,
    });
    const stop = () => end();
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    await consumer.start();
    await ended;
    clearTimeout(idle);
    await consumer.close();
    if (printed === 0 && (await isMissing(client, topic)))
      console.error(`the topic ${topic} does not exist; \`tallystick topic create ${topic}\` or a first send makes it`);
    if (!flags.json) console.error(`${printed} consumed from ${topic} as ${flags.group}`);
  });
}

/** For a hint only: a broker that cannot say so now counts as one that has the topic. */
async function isMissing(client: Client, topic: string): Promise<boolean> {
  const topics = await client
    .admin()
    .topicList()
    .catch(() => [topic]);
  return !topics.includes(topic);
}

function print(message: ConsumedMessage, json: boolean): void {
  const text = message.value.toString('utf8');
  if (!json) {
    console.log(text);
    return;
  }
  const { topic, queueId, offset, id, key, tag, timestamp, storeTimestamp, reconsumeTimes } = message;
  const isText = Buffer.from(text, 'utf8').equals(message.value);
  const value = isText ? { value: text } : { valueBase64: message.value.toString('base64') };
  const headers = Object.fromEntries(message.headers);
  console.log(
    JSON.stringify({ topic, queueId, offset, id, key, tag, headers, timestamp, storeTimestamp, reconsumeTimes, ...value }),
  );
}
