import { expect, test } from 'vitest';
import { tallystickSubscriber, type TallystickClient, type Delivery } from '../../src/index.ts';

const HOUR_MS = 3_600_000;

test('a message that was stored before the subscription began may have killed the consumer before this one', async () => {
  let handler: (message: never) => Promise<void> = () => Promise.resolve();
  const client = {
    consumer: (settings: { handler: typeof handler }) => {
      handler = settings.handler;
      return { start: () => Promise.resolve(), close: () => Promise.resolve() };
    },
  };
  const seen: Delivery[] = [];
  const subscriber = tallystickSubscriber(client as unknown as TallystickClient, { group: 'g' });
  await subscriber.subscribe('t', (delivery) => (seen.push(delivery), Promise.resolve('done')));
  const message = { id: 'A', topic: 't', headers: new Map(), properties: new Map(), value: new Uint8Array(1), reconsumeTimes: 0 };
  await handler({ ...message, storeTimestamp: Date.now() - HOUR_MS } as never);
  await handler({ ...message, storeTimestamp: Date.now() + HOUR_MS } as never);
  await handler({ ...message, storeTimestamp: Date.now() + HOUR_MS, reconsumeTimes: 1 } as never);
  expect(seen.map(({ redelivered }) => redelivered)).toEqual([true, false, true]);
});
