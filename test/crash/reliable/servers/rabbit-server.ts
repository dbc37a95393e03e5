/** A RabbitMQ of the harness's own. */
import amqp from 'amqplib';
import { startRabbitmq, type RabbitmqNode } from '../../../../scripts/services/rabbitmq.ts';
import type { BrokerServer } from './broker-server.ts';

export class RabbitServer implements BrokerServer {
  readonly kind = 'rabbitmq';
  readonly endpoint: string;
  readonly #node: RabbitmqNode;

  private constructor(node: RabbitmqNode) {
    this.#node = node;
    this.endpoint = `${node.url}?heartbeat=5`;
  }

  static async make(): Promise<RabbitServer> {
    return new RabbitServer(await startRabbitmq());
  }

  start(): Promise<void> {
    return this.#node.start();
  }

  kill(): Promise<void> {
    return this.#node.kill();
  }

  stop(): Promise<void> {
    return this.#node.close();
  }

  /** Deletes the queue with whatever is in it. */
  async deleteQueue(queue: string): Promise<void> {
    const connection = await amqp.connect(this.endpoint);
    try {
      await (await connection.createChannel()).deleteQueue(queue);
    } finally {
      await connection.close();
    }
  }
}
