/** The parent's own look into the broker, past the proxies: topics before the run, half messages and dead letters at its end. */
import { Client } from '@tallystick/client';

export interface HalfLeft {
  readonly serial: string;
  readonly state: string;
}

const readLimitMs = 5_000;

export class StoreReader {
  readonly client: Client;

  constructor(brokerPort: number) {
    this.client = new Client({ address: `127.0.0.1:${brokerPort}`, reconnectMaxMs: 400, heartbeatIntervalMs: 2_000 });
  }

  async makeTopics(topics: readonly string[], queues: number): Promise<void> {
    for (const topic of topics) await this.client.admin().createTopic(topic, queues);
  }

  /** Half messages without a verdict; undefined when the broker did not answer. */
  async halves(): Promise<HalfLeft[] | undefined> {
    try {
      return (await this.client.admin().halves()).map(({ id, state }) => ({ serial: id, state }));
    } catch {
      return undefined;
    }
  }

  /** The distinct serials of all messages in a topic, read from its first message to its present end; undefined when that failed. */
  async serialsIn(topic: string): Promise<string[] | undefined> {
    try {
      const messages = await this.client.admin().readAll(topic, { timeoutMs: readLimitMs });
      return [...new Set(messages.map(({ id }) => id))];
    } catch {
      return undefined;
    }
  }

  async close(): Promise<void> {
    await this.client.close();
  }
}
