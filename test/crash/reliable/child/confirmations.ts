/**
 * Bank A's ear: the confirmations of its messages come as messages of a reply topic and as requests, and end in the outbox. Between each
 * and the outbox stands the harness.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { Outbox } from '@tallystick/reliable';
import { brokerEnds } from './brokers.ts';
import type { ChildOptions, ConfirmationOptions, Line } from './line.ts';

export interface Ear {
  stop(): Promise<void>;
}

export async function hearConfirmations(
  outbox: Outbox,
  options: ChildOptions,
  { replies, port, token }: ConfirmationOptions,
  line: Line,
): Promise<Ear> {
  const ends = brokerEnds(options.broker, { group: 'bank-a' });
  await ends.prepare(replies);
  const receive = outbox.confirmations();
  const subscription = await ends.subscriber().subscribe(replies, async (delivery) => {
    await line.reached('confirmation-received', 0, delivery.id);
    const receipt = await receive(delivery);
    await line.reached('confirmation-settled', 0, delivery.id);
    return receipt;
  });
  const handle = outbox.confirmationHandler({ token });
  const server = createServer((request, response) => {
    const go = async (): Promise<void> => {
      await line.reached('request-received', 0, '');
      heldBack(response, line);
      handle(request, response);
    };
    void go();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    async stop() {
      server.close();
      server.closeAllConnections();
      await subscription.stop();
      await ends.close();
    },
  };
}

/** The handler has settled the row before it answers. */
function heldBack(response: ServerResponse, line: Line): void {
  const end = response.end.bind(response) as (text: string) => unknown;
  const held = (text: string): ServerResponse => {
    void Promise.resolve(line.reached('request-settled', 0, '')).then(() => end(text));
    return response;
  };
  response.end = held as typeof response.end;
}
