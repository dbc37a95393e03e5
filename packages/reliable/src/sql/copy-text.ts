import type { SqlValue, Statement } from './statement.ts';

/**
 * A reading statement as the text of a binary COPY, which takes no parameters: the values stand in it as literals. Undefined when a
 * value is neither a number that is exact nor a text. A text is an escape string, so it ends where it ends whatever the server's
 * `standard_conforming_strings` says.
 */
export function copyText({ sql, parameters }: Statement): string | undefined {
  let canBeText = true;
  const text = sql.replaceAll(/\$(\d+)/g, (_, number: string) => {
    const literal = literalOf(parameters[Number(number) - 1]);
    if (literal === undefined) canBeText = false;
    return literal ?? '';
  });
  return canBeText ? `copy (${text}) to stdout (format binary)` : undefined;
}

function literalOf(value: SqlValue | undefined): string | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? `(${value})` : undefined;
  // A NUL cannot be in a text of PostgreSQL at all.
  if (typeof value !== 'string' || value.includes('\0')) return undefined;
  return `E'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
