/** `docs/reference/options.md`: every option of every part, from the option tables. */
import type { OptionTable } from '@tallystick/base';

export interface OptionSection {
  title: string;
  /** What the options are given to. */
  given: string;
  table: OptionTable;
}

export function optionsPage(sections: readonly OptionSection[]): string {
  const parts = sections.map(({ title, given, table }) => {
    const withAliases = Object.values(table).some(({ rocketmq, kafka }) => rocketmq !== undefined || kafka !== undefined);
    const rows = Object.entries(table).map(([name, row]) => {
      const start = `| \`${name}\` | ${shown(row.default)} | ${cell(row.sentence)} |`;
      return withAliases ? `${start} ${theirName(row.rocketmq)} | ${theirName(row.kafka)} |` : start;
    });
    const head = withAliases
      ? ['| option | default | meaning | RocketMQ | Kafka |', '|---|---|---|---|---|']
      : ['| option | default | meaning |', '|---|---|---|'];
    return [`## ${title}`, '', given, '', ...head, ...rows].join('\n');
  });
  const head = '<!-- Made from the option tables of the packages by scripts/docs.ts. Do not edit. -->\n\n# Options';
  const note =
    'The last word of a name is its unit. A wrong or unknown option is refused at construction, all faults named at once. Functions and handles that are handed in are not listed here.';
  return `${[head, note, ...parts].join('\n\n')}\n`;
}

function theirName(name: string | undefined): string {
  return name === undefined ? '–' : `\`${name}\``;
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value === '' ? '(empty)' : `\`${value}\``;
  if (Array.isArray(value)) return value.length === 0 ? '(none)' : value.join(', ');
  if (value === Number.MAX_SAFE_INTEGER) return 'no limit';
  return cell(String(value));
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
