import { COMMANDS, wireName, type AnswerHeader, type CommandName, type Header } from './commands.ts';
import type { FieldTable } from './fields.ts';
import type { Frame } from './frame.ts';
import { Locator } from './locator.ts';

/**
 * Headers as objects, for cold commands and tests: `decodeHeader('QUERY_CONSUMER_OFFSET', frame)`. Hot commands use locators.
 */

/** Field values to send; names are those on the wire. Undefined ones are left out. A Map takes keys from outside. */
export type FieldValues = Readonly<Record<string, FieldValue>> | ReadonlyMap<string, FieldValue>;
export type FieldValue = string | number | boolean | undefined;

/** The request header of a command; a sentence when a mandatory field is missing or a number is none. */
export function decodeHeader<N extends CommandName>(name: N, frame: Frame): Header<N> | string {
  return decode(requests, name, COMMANDS[name].request, frame) as Header<N> | string;
}

/** The answer header of a command. */
export function decodeAnswer<N extends CommandName>(name: N, frame: Frame): AnswerHeader<N> | string {
  return decode(answers, name, COMMANDS[name].answer, frame) as AnswerHeader<N> | string;
}

/** A typed request header as wire fields: checks nothing, only renames (the short send header has one-letter names). */
export function wireFields<N extends CommandName>(name: N, header: Header<N>): FieldValues {
  const table = COMMANDS[name].request;
  return Object.fromEntries(
    Object.entries(header as Record<string, FieldValue>).map(([field, value]) => {
      const row = table[field];
      return [row === undefined ? field : wireName(field, row), value];
    }),
  );
}

/** Calls `each` for every field that has a value, with the value's text. */
export function eachField(fields: FieldValues, each: (name: string, value: string) => void): void {
  if (fields instanceof Map) {
    for (const [name, value] of fields as ReadonlyMap<string, FieldValue>) if (value !== undefined) each(name, String(value));
    return;
  }
  for (const name of Object.keys(fields)) {
    const value = (fields as Readonly<Record<string, FieldValue>>)[name];
    if (value !== undefined) each(name, String(value));
  }
}

const requests = new Map<CommandName, Locator>();
const answers = new Map<CommandName, Locator>();

function decode(locators: Map<CommandName, Locator>, name: CommandName, table: FieldTable, frame: Frame): unknown {
  let locator = locators.get(name);
  if (locator === undefined) {
    locator = new Locator(table);
    locators.set(name, locator);
  }
  if (!locator.locate(frame)) return locator.fault();
  const header: Record<string, FieldValue> = {};
  for (const [slot, [field, { kind }]] of Object.entries(table).entries()) {
    if (!locator.has(slot)) continue;
    header[field] = kind === 'text' ? locator.text(slot) : kind === 'flag' ? locator.numbers[slot] === 1 : locator.numbers[slot];
  }
  return header;
}
