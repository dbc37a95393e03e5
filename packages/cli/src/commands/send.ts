/** `tallystick send`: sends one message, the same body several times, or one message per line of standard input. */
import { createInterface } from 'node:readline';
import type { Producer } from '@tallystick/client';
import type { Command } from 'commander';
import { header, integer } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import { usingBroker, withBroker, type BrokerFlag } from './connection.ts';

interface SendFlags extends BrokerFlag {
  readonly count: number;
  readonly key?: string;
  readonly tag?: string;
  readonly header?: ReadonlyMap<string, string>;
  readonly json?: true;
}

export function addSend(program: Command): void {
  withBroker(program.command('send'))
    .description('sends messages to a topic')
    .argument('<topic>')
    .argument('[body]', 'the message; without it, one message per line of standard input')
    .option('--count <n>', 'sends the body so many times', integer(1, 1_000_000), 1)
    .option('--key <key>', 'messages of one key keep their order')
    .option('--tag <tag>', 'what consumers can filter by')
    .option('--header <name=value>', 'a property of the message; may be repeated', header)
    .action(send);
}

async function send(topic: string, body: string | undefined, flags: SendFlags): Promise<void> {
  await usingBroker(flags, async (client) => {
    const producer = client.producer({ group: 'tallystick-cli', maxBlockMs: 5_000, deliveryTimeoutMs: 10_000 });
    let sent = 0;
    for await (const value of bodies(body, flags.count)) {
      await sendOne(producer, topic, value, flags);
      sent++;
    }
    await producer.close();
    if (sent === 0)
      throw new CliError(
        'nothing to send: standard input was empty',
        'give a body as the second argument or lines on standard input',
        'usage',
      );
    if (!flags.json) console.log(`${sent} sent to ${topic}`);
  });
}

async function sendOne(
  producer: Producer,
  topic: string,
  value: string,
  { key, tag, header: headers, json }: SendFlags,
): Promise<void> {
  const receipt = await producer.send({ topic, value, key, tag, headers });
  const { queueId, offset, messageId } = receipt;
  if (json) console.log(JSON.stringify({ topic, queueId, offset, messageId, offsetMessageId: receipt.offsetMessageId }));
}

async function* bodies(body: string | undefined, count: number): AsyncGenerator<string> {
  if (body !== undefined) {
    for (let i = 0; i < count; i++) yield body;
    return;
  }
  for await (const line of createInterface({ input: process.stdin })) if (line !== '') yield line;
}
