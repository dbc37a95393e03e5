import { identityOf } from '../identity.ts';
import type { Journal } from '../journal.ts';
import { ControlType } from '../store/control-records.ts';
import type { RecordView } from '../store/record-view.ts';
import type { AppendOutcome, Derived } from '../store/store-types.ts';
import {
  DLQ_PREFIX,
  HALF_TOPIC,
  PERM_INHERIT,
  PERM_READ,
  PERM_WRITE,
  RETRY_PREFIX,
  SCHEDULE_TOPIC,
  systemTopics,
} from './system-topics.ts';
import { Topic, topicConfig, topicFromJson, topicJson, type TopicConfig } from './topic.ts';

export interface TopicTableOptions {
  readonly brokerName: string;
  readonly clusterName: string;
  readonly autoCreateTopics: boolean;
  readonly topicsMax: number;
  readonly delayLevelsMs: readonly number[];
}

/**
 * All topics. The broker's own come from the options; the others are control records of the log, one per making or change, so
 * that a topic is known before the first message in it and needs no file of its own. `changed` tells who exports them.
 */
export class TopicTable implements Derived {
  readonly name = 'topics';
  readonly records = 'control';
  readonly #topics = new Map<string, Topic>();
  readonly #options: TopicTableOptions;
  readonly #journal: Journal;
  readonly #changed: () => void;
  /** Counts changes, for RocketMQ's DataVersion. */
  version = 0;

  constructor(options: TopicTableOptions, journal: Journal, changed: () => void) {
    this.#options = options;
    this.#journal = journal;
    this.#changed = changed;
    for (const { name, queues, perm } of systemTopics(
      options.brokerName,
      options.clusterName,
      options.delayLevelsMs.length,
      options.autoCreateTopics,
    )) {
      this.#topics.set(name, new Topic(topicConfig(name, queues, perm), true));
    }
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name);
  }

  /** All topics in the order of their making. */
  all(): Iterable<Topic> {
    return this.#topics.values();
  }

  get size(): number {
    return this.#topics.size;
  }

  get half(): Topic {
    return this.#topics.get(HALF_TOPIC)!;
  }

  get schedule(): Topic {
    return this.#topics.get(SCHEDULE_TOPIC)!;
  }

  /**
   * Makes or changes a topic. It counts at once; `done` says when it is durable. undefined when there are too many topics or the
   * store takes nothing.
   */
  put(config: TopicConfig, done: (outcome: AppendOutcome) => void = NOBODY_WAITS): Topic | undefined {
    if (!this.#topics.has(config.name) && this.#topics.size >= this.#options.topicsMax) return undefined;
    this.#journal.control(
      ControlType.TOPICS,
      Buffer.from(JSON.stringify(topicJson(config)), 'utf8'),
      done === NOBODY_WAITS ? 'flush' : 'synced',
      done,
    );
    return this.#topics.get(config.name);
  }

  /**
   * The topic of a send, made by RocketMQ's rules when it is not there: from a default topic that may be inherited, or one queue
   * for a group's retry topic. undefined when the rules say no.
   */
  forSend(name: string, defaultTopic: string, defaultQueues: number): Topic | undefined {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const parent = this.#options.autoCreateTopics ? this.#topics.get(defaultTopic) : undefined;
    if (parent !== undefined && (parent.config.perm & PERM_INHERIT) !== 0) {
      const queues = Math.max(1, Math.min(defaultQueues, parent.config.writeQueues));
      return this.put(topicConfig(name, queues, parent.config.perm & ~PERM_INHERIT));
    }
    return name.startsWith(RETRY_PREFIX) ? this.put(topicConfig(name, 1, PERM_READ | PERM_WRITE)) : undefined;
  }

  /** The retry topic of a consumer group, made when needed. */
  retryOf(group: string): Topic | undefined {
    return this.#own(RETRY_PREFIX + group);
  }

  /** The dead-letter topic of a consumer group, made when needed. */
  deadLettersOf(group: string): Topic | undefined {
    return this.#own(DLQ_PREFIX + group);
  }

  apply(record: RecordView): void {
    if (record.controlType !== ControlType.TOPICS) return;
    const json: unknown = JSON.parse(record.body.toString('utf8'));
    if (identityOf(json) !== undefined) return;
    const config = topicFromJson(json);
    if (config === undefined) throw new Error(`topic record at ${record.position} holds no topic`);
    this.#set(config);
    this.version++;
    this.#changed();
  }

  snapshot(): Uint8Array {
    return Buffer.from(
      JSON.stringify({ version: this.version, topics: this.#stored().map((topic) => topicJson(topic.config)) }),
      'utf8',
    );
  }

  restore(bytes: Uint8Array): void {
    const { version, topics } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { version: number; topics: unknown[] };
    this.version = version;
    for (const json of topics) {
      const config = topicFromJson(json);
      if (config === undefined) throw new Error('topics: a snapshot entry holds no topic');
      this.#set(config);
    }
  }

  /** `config/topics.json` in RocketMQ's shape. */
  json(nowMs: number): Record<string, unknown> {
    return {
      dataVersion: { counter: this.version, stateVersion: 0, timestamp: nowMs },
      topicConfigTable: Object.fromEntries([...this.#topics.values()].map((topic) => [topic.name, topicJson(topic.config)])),
    };
  }

  #stored(): Topic[] {
    return [...this.#topics.values()].filter((topic) => !topic.system);
  }

  #own(name: string): Topic | undefined {
    return this.#topics.get(name) ?? this.put(topicConfig(name, 1, PERM_READ | PERM_WRITE));
  }

  #set(config: TopicConfig): void {
    const old = this.#topics.get(config.name);
    if (old?.system === true) return;
    const topic = new Topic(config, false);
    if (old !== undefined) topic.queues.push(...old.queues);
    this.#topics.set(config.name, topic);
  }
}

function NOBODY_WAITS(): void {}
