/**
 * What a consumer wants of a topic: everything (`*`) or some tags (`TagA || TagB`). The broker compares hashes of tags only, so the
 * exact text is compared again here.
 */
import { type LazyMessage, type SubscriptionData, tagHash } from '@tallystick/remoting';

export class Subscription {
  readonly topic: string;
  /** `*`, or tags joined by ` || `. */
  readonly expression: string;
  readonly version: number;
  readonly #tags: ReadonlySet<string>;

  /** `version` grows with each change of a subscription; wall-clock ms serve. */
  constructor(topic: string, expression: string, version: number) {
    const tags = expression
      .split('||')
      .map((tag) => tag.trim())
      .filter((tag) => tag !== '');
    const all = tags.length === 0 || tags.includes('*');
    this.topic = topic;
    this.version = version;
    this.#tags = new Set(all ? [] : tags);
    this.expression = all ? '*' : [...this.#tags].join(' || ');
  }

  wants(message: LazyMessage): boolean {
    if (this.#tags.size === 0) return true;
    const { tag } = message;
    return tag !== undefined && this.#tags.has(tag);
  }

  /** Its entry in the heartbeat. */
  data(): SubscriptionData {
    const tagsSet = [...this.#tags];
    return {
      topic: this.topic,
      subString: this.expression,
      expressionType: 'TAG',
      tagsSet,
      codeSet: tagsSet.map((tag) => tagHash(tag)),
      subVersion: this.version,
      classFilterMode: false,
    };
  }
}
