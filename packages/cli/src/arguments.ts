/** Parsers for option values: each takes the text and gives a value or throws an error that commander shows beside the option's name. */
import { InvalidArgumentError } from 'commander';

/** A whole number in [low, high]. */
export function integer(low: number, high = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value) || value < low || value > high) {
      throw new InvalidArgumentError(
        high === Number.MAX_SAFE_INTEGER
          ? `must be a whole number from ${low} on.`
          : `must be a whole number from ${low} to ${high}.`,
      );
    }
    return value;
  };
}

/** Whole numbers with commas between them. */
export function integers(low: number): (text: string) => number[] {
  const one = integer(low);
  return (text) => text.split(',').map((part) => one(part.trim()));
}

/** `host:port`. */
export function address(text: string): string {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[2]) > 65_535) throw new InvalidArgumentError('must be an address as host:port.');
  return text;
}

/** `host:port`, several with commas between them. */
export function addresses(text: string): string {
  return text
    .split(/[,;]/)
    .map((one) => address(one.trim()))
    .join(',');
}

/** `name=value`, gathered over repetitions of the option. */
export function header(text: string, before: ReadonlyMap<string, string> | undefined): Map<string, string> {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError('must be a header as name=value.');
  return new Map([...(before ?? []), [text.slice(0, at), text.slice(at + 1)]]);
}

/** A length of time as ms: `500ms`, `90s`, `10m`, `2h`, `3d`. */
export function durationMs(text: string): number {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  if (match === null) throw new InvalidArgumentError('must be a time as 90s, 10m, 2h or 3d.');
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] as 'ms'];
}

/** States of a message table, with commas between them. */
export function rowStates<State extends string>(allowed: readonly State[]): (text: string) => State[] {
  return (text) =>
    text.split(',').map((part) => {
      const state = allowed.find((one) => one === part.trim());
      if (state === undefined) throw new InvalidArgumentError(`Allowed choices are ${allowed.join(', ')}.`);
      return state;
    });
}
