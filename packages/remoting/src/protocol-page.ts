import { COMMANDS, wireName, type CommandRow, type Direction } from './commands.ts';
import type { FieldTable } from './fields.ts';
import { LANGUAGES, OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import { PEER_OPTIONS } from './peer-options.ts';
import { RESPONSES } from './responses.ts';

/** The reference page of the wire, in Markdown, made of the tables. */
export function protocolPage(): string {
  return [
    '<!-- Made from packages/remoting/src/commands.ts and responses.ts by scripts/docs.ts. Do not edit. -->',
    '',
    '# The wire',
    '',
    'Apache RocketMQ remoting. All integers are big-endian.',
    '',
    FRAME,
    `We say language \`${LANGUAGES[OUR_LANGUAGE]!}\` and version ${OUR_VERSION}. Answers use the request's header kind; a request code that is not below is answered with 3.`,
    '',
    '## Limits of a connection',
    '',
    '| option | default | meaning |',
    '|---|---|---|',
    ...Object.entries(PEER_OPTIONS).map(([name, row]) => `| \`${name}\` | ${String(row.default)} | ${row.sentence} |`),
    '',
    '## Answer codes',
    '',
    'Stored: whether a send that got this answer may have been stored.',
    '',
    '| code | name | stored | meaning |',
    '|---|---|---|---|',
    ...Object.entries(RESPONSES).map(([name, row]) => `| ${row.code} | ${name} | ${row.stored} | ${cell(row.sentence)} |`),
    '',
    '## Commands',
    '',
    ...Object.entries(COMMANDS)
      .sort(([, a], [, b]) => a.code - b.code)
      .flatMap(([name, row]) => commandSection(name, row)),
  ].join('\n');
}

const FRAME = `\`\`\`
frame    length u32 (of what follows) | kind u8 (0 JSON, 1 binary) | header length u24 | header | body
JSON     {"code","extFields":{…texts…},"flag","language","opaque","remark","version"}
binary   code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark: i32 + UTF-8 | fields: i32 + rows
row      key: i16 + UTF-8 | value: i32 + UTF-8
flag     bit 0: answer, bit 1: one-way (never answered)
\`\`\`
`;

const DIRECTIONS: Readonly<Record<Direction, string>> = {
  client: 'client to broker',
  lookup: 'client to name server',
  broker: 'broker to client',
  admin: 'tool to broker',
};

function commandSection(name: string, row: CommandRow): string[] {
  return [
    `### ${row.code} ${name}`,
    '',
    `${row.sentence} (${DIRECTIONS[row.direction]})`,
    '',
    ...(row.requestBody === undefined ? [] : [`Body: ${row.requestBody}.`, '']),
    ...fieldTable(row.request),
    ...(row.answerBody === undefined ? [] : [`Answer body: ${row.answerBody}.`, '']),
    ...(Object.keys(row.answer).length === 0 ? [] : ['Answer fields:', '', ...fieldTable(row.answer)]),
  ];
}

function fieldTable(table: FieldTable): string[] {
  const rows = Object.entries(table);
  if (rows.length === 0) return [];
  return [
    '| field | kind | | meaning |',
    '|---|---|---|---|',
    ...rows.map(([name, field]) => {
      const wire = wireName(name, field);
      const shown = wire === name ? `\`${name}\`` : `\`${wire}\` ${name}`;
      return `| ${shown} | ${field.kind} | ${field.must ? 'must' : ''} | ${cell(field.sentence)} |`;
    }),
    '',
  ];
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
