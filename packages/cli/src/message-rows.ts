/** Rows of a message table on a terminal. */
import type { ListedRow } from '@tallystick/reliable';

export async function printRows(rows: readonly ListedRow[]): Promise<void> {
  if (rows.length === 0) return;
  const { default: Table } = await import('cli-table3');
  const head = ['id', 'state', 'topic', 'key', 'age', 'attempts', 'last error'];
  const table = new Table({ head, style: { head: [], border: [] } });
  const now = Date.now();
  for (const { id, state, topic, key, businessKey, createdAt, attempts, tries, lastError, lastOutcome } of rows) {
    const why = lastError === null ? '' : `${lastOutcome ?? ''}: ${lastError}`;
    const counted = attempts === tries ? String(attempts) : `${attempts} (${tries} tries)`;
    table.push([id, state, cut(topic, 30), cut(key ?? businessKey ?? '', 20), ageText(now - createdAt), counted, cut(why, 50)]);
  }
  console.log(table.toString());
}

/** `90 s`, `12 min`, `5 h`, `3 days`. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} days`;
}

function cut(text: string, max: number): string {
  const line = oneLine(text);
  return line.length <= max ? line : `${line.slice(0, max - 1)}…`;
}

/** Text of others on one line: what moves a cursor stays out of the terminal. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ');
}
