/** What tools ask of brokers, with promises. */
import type { AdminCore, AdminDone, TopicSettings } from '../admin/admin-core.ts';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { TopicRoute } from '../route/topic-route.ts';

export class Admin {
  readonly core: AdminCore;

  constructor(core: AdminCore) {
    this.core = core;
  }

  /** Makes a topic with so many queues, or changes their number and what the settings name. */
  async createTopic(topic: string, queues = 8, settings: TopicSettings = {}): Promise<void> {
    await promised<undefined>((done) => this.core.createTopic(topic, queues, settings, done));
  }

  topicList(): Promise<readonly string[]> {
    return promised((done) => this.core.topicList(done));
  }

  route(topic: string): Promise<TopicRoute> {
    return promised((done) => this.core.route(topic, done));
  }

  /** Everything that lies in a topic now. */
  readAll(topic: string): Promise<readonly ReceivedMessage[]> {
    return promised((done) => this.core.readAll(topic, done));
  }
}

function promised<T>(start: (done: AdminDone<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => start((error, value) => (error === undefined ? resolve(value) : reject(error))));
}
