/**
 * What both services are made of: a pool, an outbox with its relay, an inbox with its retries, and RabbitMQ at both ends. All of it stops in
 * reverse when the process is asked to end, and nothing is lost when it is killed instead.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'amqplib';
import { Pool } from 'pg';
import {
  createInbox,
  createOutbox,
  createRelay,
  rabbitSubscriber,
  rabbitTransport,
  type Inbox,
  type MessageTypes,
  type Outbox,
} from '@tallystick/reliable';

export interface Service<Types extends MessageTypes> {
  readonly pool: Pool;
  readonly outbox: Outbox<Pool, Types>;
  readonly inbox: Inbox<Pool>;
  /** Messages of this queue go to the inbox, or to another receiver. */
  readonly consume: (queue: string, receive?: Inbox<Pool>['receive']) => Promise<void>;
  readonly serve: (port: number, answer: Answer) => Promise<void>;
}

/** Answers a request with a status and a value. */
export type Answer = (method: string, path: string, body: unknown) => Promise<readonly [status: number, value: unknown]>;

export async function service<const Types extends MessageTypes>(name: string, messages: Types): Promise<Service<Types>> {
  const broker = (): ReturnType<typeof connect> => connect(environment('RABBITMQ_URL'), { noDelay: true });
  const pool = new Pool({ connectionString: environment('DATABASE_URL'), max: 8 });
  // A database that goes away for a moment must not end the process.
  pool.on('error', () => undefined);
  const transport = rabbitTransport({ connect: broker });
  const subscriber = rabbitSubscriber({ connect: broker });
  const relay = createRelay({ db: pool, transport, leaseMs: 2_000, sweepIntervalMs: 200 });
  const outbox = createOutbox(pool, { messages, wake: () => relay.wake() });
  const inbox = createInbox(pool, { consumer: name, outbox, leaseMs: 2_000, retryFirstMs: 100 });
  await outbox.ready();
  relay.start();
  inbox.start();
  const server = createServer();
  process.once('SIGTERM', () => {
    server.close();
    server.closeIdleConnections();
    void subscriber
      .close()
      .then(() => inbox.stop())
      .then(() => relay.stop())
      .then(() => transport.close())
      .then(() => pool.end());
  });
  return {
    pool,
    outbox,
    inbox,
    consume: async (queue, receive = inbox.receive) => {
      await subscriber.subscribe(queue, receive);
    },
    serve: (port, answer) => {
      server.on('request', (request, response) => void reply(request, response, answer));
      return new Promise((resolve) => {
        server.listen(port, '127.0.0.1', () => {
          const { port: taken } = server.address() as { port: number };
          console.log(`${name} ready on ${taken}`);
          resolve();
        });
      });
    },
  };
}

async function reply(request: IncomingMessage, response: ServerResponse, answer: Answer): Promise<void> {
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const [status, value] = await answer(request.method!, request.url!, text === '' ? undefined : JSON.parse(text));
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  } catch (error) {
    response.writeHead(503).end(JSON.stringify({ error: String(error) }));
  }
}

function environment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`set ${name}`);
  return value;
}
