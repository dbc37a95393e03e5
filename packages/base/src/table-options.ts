/**
 * Option tables: every limit, wait and switch of a component is one row with its default, its bounds and a sentence. Defaults,
 * types, checks, error texts and reference pages derive from the rows. A wrong option is refused at construction, all wrong ones
 * named at once; an unknown name is wrong too.
 */

/** One option. Units are the last word of the option's name (`lingerMs`, `segmentBytes`). */
export interface OptionRow<V> {
  readonly default: V;
  readonly sentence: string;
  /** What is wrong with a value, as the end of "<name> …"; undefined when nothing is. */
  readonly fault: (value: unknown) => string | undefined;
  /** What RocketMQ and Kafka call it, where they have it. */
  readonly rocketmq?: string | undefined;
  readonly kafka?: string | undefined;
}

/** A row with the names that RocketMQ and Kafka have for it. */
export function alias<V>(row: OptionRow<V>, names: { readonly rocketmq?: string; readonly kafka?: string }): OptionRow<V> {
  return { ...row, ...names };
}

export type OptionTable = Readonly<Record<string, OptionRow<unknown>>>;

/** All options of a table, filled in. */
export type Options<T extends OptionTable> = { readonly [K in keyof T]: T[K] extends OptionRow<infer V> ? V : never };

/** What a caller may give: any subset; undefined means the default. */
export type GivenOptions<T extends OptionTable> = { readonly [K in keyof T]?: Options<T>[K] | undefined };

/** Fills in defaults. Throws {@link OptionsError} naming each fault; `owner` is the component, for the text. */
export function resolveOptions<T extends OptionTable>(owner: string, table: T, given: GivenOptions<T> = {}): Options<T> {
  const faults: string[] = [];
  const filled: [string, unknown][] = [];
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(table, name)) faults.push(`${name} is not an option`);
  }
  for (const [name, row] of Object.entries(table)) {
    const value: unknown = given[name] ?? row.default;
    const fault = row.fault(value);
    if (fault !== undefined) faults.push(`${name} ${fault}, not ${show(value)}`);
    filled.push([name, value]);
  }
  if (faults.length > 0) throw new OptionsError(owner, faults);
  return Object.fromEntries(filled) as Options<T>;
}

/** Thrown by {@link resolveOptions}; `faults` has one sentence per wrong option. */
export class OptionsError extends Error {
  readonly faults: readonly string[];

  constructor(owner: string, faults: readonly string[]) {
    super(`${owner}: ${faults.join('; ')}`);
    this.name = 'OptionsError';
    this.faults = faults;
  }
}

/** A whole number between bounds, both included. */
export function integerOption(fallback: number, min: number, max: number, sentence: string): OptionRow<number> {
  const fault = (value: unknown): string | undefined =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `must be a whole number from ${min} to ${max}`;
  return { default: fallback, sentence, fault };
}

export function booleanOption(fallback: boolean, sentence: string): OptionRow<boolean> {
  return { default: fallback, sentence, fault: (value) => (typeof value === 'boolean' ? undefined : 'must be true or false') };
}

/** A text; `pattern`, if given, must match it. */
export function textOption(fallback: string, sentence: string, pattern?: RegExp): OptionRow<string> {
  const fault = (value: unknown): string | undefined => {
    if (typeof value !== 'string') return 'must be a text';
    return pattern === undefined || pattern.test(value) ? undefined : `must match ${pattern.source}`;
  };
  return { default: fallback, sentence, fault };
}

/** One of a few words. */
export function choiceOption<V extends string>(fallback: V, choices: readonly V[], sentence: string): OptionRow<V> {
  const fault = (value: unknown): string | undefined =>
    (choices as readonly unknown[]).includes(value) ? undefined : `must be one of ${choices.join(', ')}`;
  return { default: fallback, sentence, fault };
}

/** A list of whole numbers between bounds. */
export function integersOption(
  fallback: readonly number[],
  min: number,
  max: number,
  sentence: string,
): OptionRow<readonly number[]> {
  const fault = (value: unknown): string | undefined =>
    Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= min && n <= max)
      ? undefined
      : `must be a list of whole numbers from ${min} to ${max}`;
  return { default: fallback, sentence, fault };
}

function show(value: unknown): string {
  return typeof value === 'function' ? 'a function' : (JSON.stringify(value) ?? 'undefined');
}
