import { tagHash } from '@tallystick/remoting';

/** What one group wants of one topic. */
export interface Subscription {
  readonly topic: string;
  readonly expression: string;
  /** `TAG` or a filter language that is not supported. */
  readonly expressionType: string;
  readonly tags: readonly string[];
  readonly codes: readonly number[];
  readonly version: number;
  readonly classFilter: boolean;
  /** Tells a tag's hash that is wanted; undefined when all are. Hash collisions are the consumer's to sort out, as in RocketMQ. */
  readonly matches: ((tagsCode: number) => boolean) | undefined;
}

/** A subscription from its expression: `*` or empty is all, otherwise tags separated by `||`. Spaces and empty parts do not count. */
export function subscription(
  topic: string,
  expression: string,
  expressionType = 'TAG',
  version = 0,
  given: { readonly tags?: readonly string[]; readonly codes?: readonly number[]; readonly classFilter?: boolean } = {},
): Subscription {
  const all = expressionType !== 'TAG' || expression === '*' || expression.trim() === '';
  const parsed = all
    ? []
    : expression
        .split('||')
        .map((tag) => tag.trim())
        .filter((tag) => tag !== '');
  const tags = given.tags !== undefined && given.tags.length > 0 ? given.tags : parsed;
  const codes = given.codes !== undefined && given.codes.length > 0 ? given.codes : tags.map((tag) => tagHash(tag));
  const wanted = new Set(codes);
  return {
    topic,
    expression,
    expressionType,
    tags,
    codes,
    version,
    classFilter: given.classFilter ?? false,
    matches: all || wanted.size === 0 ? undefined : (tagsCode) => wanted.has(tagsCode),
  };
}

/** Filters by tag are the only ones; RocketMQ with its defaults has no others either. */
export function isTagType(expressionType: string | undefined): boolean {
  return expressionType === undefined || expressionType === '' || expressionType === 'TAG';
}
