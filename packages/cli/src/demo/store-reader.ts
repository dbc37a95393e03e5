/** The parent's own look into the broker, past the proxies: topics before the run, half messages and dead letters at its end. */
import { Client } from '@tallystick/client';
import { readHalves } from '../broker-info.ts';
import { sleep } from './sleep.ts';

export interface HalfLeft {
  readonly serial: string;
  readonly state: string;
}

const attemptsMax = 100;
const againAfterMs = 300;

export class StoreReader {
  readonly client: Client;
  private readonly address: string;

  constructor(brokerPort: number) {
    this.address = `127.0.0.1:${brokerPort}`;
    this.client = new Client({
      address: this.address,
      reconnectMaxMs: 400,
      heartbeatIntervalMs: 1_000,
      routeIntervalMs: 500,
      onReport: () => {},
    });
  }

  /** Makes topics, again and again while the broker is away: it may be killed at any moment. Throws when it stays away. */
  async makeTopics(topics: readonly string[], queues: number): Promise<void> {
    for (const topic of topics) {
      for (let attempt = 1; ; attempt++) {
        try {
          await this.client.admin().createTopic(topic, queues);
          break;
        } catch (error) {
          if (attempt === attemptsMax) throw error;
          await sleep(againAfterMs);
        }
      }
    }
  }

  /** Half messages without a verdict; undefined when the broker did not answer. */
  async halves(): Promise<HalfLeft[] | undefined> {
    try {
      const { rows } = await readHalves(this.address);
      return rows.map(({ id, state }) => ({ serial: id, state }));
    } catch {
      return undefined;
    }
  }

  /** The distinct serials of all messages that lie in a topic now, none if there is no such topic; undefined when it could not be read. */
  async serialsIn(topic: string): Promise<string[] | undefined> {
    try {
      const topics = await this.client.admin().topicList();
      if (!topics.includes(topic)) return [];
      const messages = await this.client.admin().readAll(topic);
      return [...new Set(messages.map(({ id }) => id))];
    } catch {
      return undefined;
    }
  }

  close(): Promise<void> {
    return this.client.close();
  }
}
