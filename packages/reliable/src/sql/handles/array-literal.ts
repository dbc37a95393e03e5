/** Lists as PostgreSQL writes arrays, so that they pass through every library as text; and all other values as they are. */
import type { SqlValue } from '../statement.ts';

export function withArrayLiterals(parameters: readonly SqlValue[]): unknown[] {
  return parameters.map((value) => (Array.isArray(value) ? arrayLiteral(value as readonly ArrayMember[]) : value));
}

type ArrayMember = string | number | Uint8Array | null;

export function arrayLiteral(list: readonly ArrayMember[]): string {
  return `{${list.map(literal).join(',')}}`;
}

function literal(value: ArrayMember): string {
  if (value === null) return 'null';
  if (typeof value === 'number') return String(value);
  // Quoted, so the backslash that bytes begin with is written twice.
  if (typeof value !== 'string') return `"\\\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}"`;
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
