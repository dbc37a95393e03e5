import type { Derived } from './store-types.ts';

/** Which messages some derived part wants to be told of. An ordinary one is none of them, and costs no call and no view. */
export class Interests {
  /** A message with one of these bits in its sysflag. */
  readonly sysFlagBits: number;
  /** A message whose properties begin with these four bytes; 0: none is told for that. */
  readonly firstWord: number;
  readonly #isAnyTold: boolean;
  readonly #topics: ReadonlySet<string>;

  /** Of the parts that hear messages. */
  constructor(parts: readonly Derived[]) {
    const interests = parts.map((part) => part.interest);
    const words = new Set(interests.flatMap((interest) => interest?.firstProperty ?? []).map(firstWordOf));
    this.#isAnyTold = words.size > 1 || words.has(undefined) || interests.includes(undefined);
    this.#topics = new Set(interests.flatMap((interest) => interest?.topic ?? []));
    this.sysFlagBits = interests.reduce((bits, interest) => bits | (interest?.sysFlagBits ?? 0), 0);
    this.firstWord = [...words][0] ?? 0;
  }

  /** Every message of the topic. */
  isTopicTold(topic: string): boolean {
    return this.#isAnyTold || this.#topics.has(topic);
  }
}

/** Undefined for one that is too short to be told by four bytes. */
function firstWordOf(firstProperty: string): number | undefined {
  const bytes = Buffer.from(firstProperty, 'latin1');
  return bytes.length < 4 ? undefined : bytes.readInt32BE(0);
}
