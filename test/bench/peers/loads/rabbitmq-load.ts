/** RabbitMQ by amqplib, without Nagle's delay: two quorum queues, persistent messages, publisher confirms. */
import { connect } from 'amqplib';
import { answer, jobOf } from './job.ts';
import { Loop } from './loop.ts';
import { pool, TOPICS, valueOf } from './messages.ts';

const { address, job } = jobOf(process.argv);
if (job.mode !== 'produce') throw new Error(`no mode ${job.mode}`);
const connection = await connect(`amqp://${address}`, { noDelay: true });
const channel = await connection.createConfirmChannel();
for (const queue of TOPICS) await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
const content = pool(job.bytes);
const persistent = { persistent: true };

const loop = new Loop(job);
const settle = (error: unknown): void => {
  if (error) loop.failed(error);
  else loop.finished();
};
answer(
  await loop.run((n, sample) => {
    const body = valueOf(content, n);
    if (sample === undefined) channel.publish('', TOPICS[n & 1]!, body, persistent, settle);
    else
      channel.publish('', TOPICS[n & 1]!, body, persistent, (error) => {
        sample();
        settle(error);
      });
  }),
);
