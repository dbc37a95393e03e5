/**
 * The person who looks after dead letters: reads each one, writes the message properly and sends it again under the same serial, through the broker like
 * everyone else. Doing so twice does no harm, because bank B knows the serial.
 */
import type { Client } from '@tallystick/client';
import type { FaultLog } from './fault-log.ts';
import { deadLetterTopic, mendTransfer, transferTopic } from './messages.ts';

export interface Person {
  /** Serials that were read as dead letters and sent again. */
  readonly mended: ReadonlySet<string>;
  stop(): Promise<void>;
}

export async function startPerson(client: Client, log: FaultLog): Promise<Person> {
  const mended = new Set<string>();
  const producer = client.producer({ group: 'person' });
  const consumer = client.consumer({
    group: 'person',
    topics: { [deadLetterTopic]: '*' },
    from: 'first',
    handler: async (letter) => {
      log.add({ what: 'dead-letter', serial: letter.id });
      const value = mendTransfer(letter.value.toString('utf8'));
      await producer.send({ topic: transferTopic, id: letter.id, key: letter.key, value });
      mended.add(letter.id);
      log.add({ what: 'mended', serial: letter.id });
    },
  });
  await consumer.start();
  return {
    mended,
    stop: async () => {
      await consumer.close();
      await producer.close();
    },
  };
}
