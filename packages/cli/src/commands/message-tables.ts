/**
 * What `tallystick outbox`, `inbox` and `calls` share: each looks into a message table and acts on its rows by the same five commands. An action only tells
 * what it would do; with --execute it does it, and prints of every message what it is now.
 */
import type {
  Action,
  ActItem,
  ActReport,
  BlockedKey,
  MessageTable,
  Monitor,
  RowState,
  Selection,
  ShownRow,
} from '@tallystick/reliable';
import { Option, type Command } from 'commander';
import { durationMs, integer, rowStates } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import { usingDatabase, withDatabase, type DatabaseFlag, type OpenDatabase } from '../database.ts';
import { ageText, oneLine, printRows } from '../message-rows.ts';

/** In what the tables differ for who looks at them. */
export interface TableWords {
  readonly name: 'outbox' | 'inbox' | 'calls';
  readonly table: MessageTable;
  /** The flag that names the part of the table, and what it says. */
  readonly part: readonly [flag: string, says: string];
  readonly says: string;
  readonly states: readonly RowState[];
}

interface CommonFlags extends DatabaseFlag {
  readonly json?: true;
  readonly channel?: string;
  readonly consumer?: string;
}

interface SelectFlags extends CommonFlags {
  readonly state?: readonly RowState[];
  readonly key?: string;
  readonly businessKey?: string;
  readonly topic?: string;
  readonly type?: string;
  readonly module?: string;
  readonly error?: string;
  readonly outcome?: string;
  readonly olderThan?: number;
  readonly limit: number;
}

interface ListFlags extends SelectFlags {
  readonly blocked?: true;
}

interface ActFlags extends SelectFlags {
  readonly execute?: true;
  readonly all?: true;
  readonly reason?: string;
  readonly keysKept?: number;
}

export function addMessageTable(program: Command, words: TableWords): void {
  const parent = program.command(words.name).description(words.says);
  const common = (name: string): Command => withDatabase(parent.command(name)).option(...words.part);
  withSelection(common('list'), words)
    .description('lists messages; without --state those that were given up or are tried again')
    .option('--blocked', 'lists the keys that are held up instead, with the message each waits for')
    .action((flags: ListFlags) => list(words, flags));
  common('show')
    .description('shows one message: all columns, headers, and the beginning of its body')
    .argument('<id>')
    .option('--bytes <n>', 'how much of the body', integer(0, 1_048_576), 1024)
    .action((id: string, flags: CommonFlags & { bytes: number }) => show(words, id, flags));
  for (const [action, says] of Object.entries(ACTS) as [Action, string][]) {
    const command = withSelection(common(action), words)
      .description(`${says}. Only says what it would do, unless --execute is given`)
      .argument('[ids...]', 'these messages; else those that the options describe')
      .option('--all', 'with --execute: every message that the action is for, when no id and no other option chooses')
      .option('--execute', 'does it');
    if (action === 'bury') command.requiredOption('--reason <text>', 'kept with the message');
    else
      command.addOption(
        new Option('--keys-kept <time>', 'how long receivers keep the keys of messages; older ones are warned of')
          .argParser(durationMs)
          .default(30 * 86_400_000, '30d'),
      );
    command.action((ids: string[], flags: ActFlags) => act(words, action, ids, flags));
  }
}

const ACTS: Readonly<Record<Action, string>> = {
  retry: 'tries messages again at once; one that was given up gets one more attempt',
  requeue: 'tries messages that were given up or buried again, with a new account of attempts',
  bury: 'keeps messages from being tried again; later ones of their key go on',
};

function withSelection(command: Command, words: TableWords): Command {
  return command
    .option('--state <states>', `${words.states.join(', ')}; several with commas between`, rowStates(words.states))
    .option('--topic <name>', 'only of this topic')
    .option('--key <key>', 'only of this ordering key')
    .option('--business-key <key>', 'only of this business key')
    .option('--type <name>', 'only of this message type')
    .option('--module <name>', 'only of this module')
    .option('--error <text>', 'only those whose last error contains this')
    .option('--outcome <outcome>', 'only those whose last outcome was this, such as unroutable')
    .option('--older-than <time>', 'only those added longer ago: 90s, 10m, 2h, 3d', durationMs)
    .option('--limit <n>', 'at most so many', integer(1, 100_000), 1000);
}

async function list(words: TableWords, flags: ListFlags): Promise<void> {
  await usingMonitor(words, flags, async (monitor, open) => {
    if (flags.blocked === true) printBlocked(await monitor.blockedKeys(flags.limit), flags.json === true);
    else await printSelected(monitor, words, flags);
    printOthers(words, flags, await partsOf(words, open));
  });
}

async function printSelected(monitor: AwaitedMonitor, words: TableWords, flags: ListFlags): Promise<void> {
  const { rows, complete } = await monitor.select(selectionOf(flags, []));
  if (flags.json) {
    for (const row of rows) console.log(JSON.stringify(row));
    return;
  }
  await printRows(rows);
  const { oldestMs, ...counts } = await monitor.counts();
  const states = words.states.map((state) => `${counts[state]} ${state}`).join(', ');
  console.log(`${rows.length} shown${complete ? '' : ', and there are more (--limit)'}; in all ${states}`);
  if (oldestMs > 0) console.log(`the oldest that has not left is ${ageText(oldestMs)} old`);
}

/** Whoever names no part, or one that has no messages, shall not take an empty list for an empty table. JSON: on standard error, apart from the rows. */
function printOthers({ name }: TableWords, flags: ListFlags, parts: readonly string[]): void {
  const word = name === 'inbox' ? 'consumer' : 'channel';
  const part = flags[word] ?? '';
  const others = parts.filter((one) => one !== part && one !== '');
  if (others.length === 0 || (part !== '' && parts.includes(part))) return;
  const named = others.map((one) => `--${word} ${oneLine(one)}`).join(', ');
  if (flags.json) console.error(JSON.stringify({ [word]: part, others }));
  else if (part === '') console.log(`only those of no ${word}; there are also those of ${named}`);
  else console.log(`${oneLine(part)} has none; there are those of ${named}`);
}

/** The channels or consumers in the table: one step along the index for each, however many messages it has. */
async function partsOf({ table }: TableWords, open: OpenDatabase): Promise<string[]> {
  const next = (after: string): string => `select min(channel) from ${table} where ${after}`;
  const rows = await open.rows(`with recursive part(name) as (
    select (${next('true')}) union all select (${next('channel > part.name')}) from part where part.name is not null
  ) select name from part where name is not null order by name limit ${PARTS_MAX}`);
  return rows.map(({ name }) => String(name));
}

const PARTS_MAX = 100;

function printBlocked(keys: readonly BlockedKey[], json: boolean): void {
  if (json) {
    for (const { row, behind } of keys) console.log(JSON.stringify({ ...row, behind }));
    return;
  }
  if (keys.length === 0) console.log('no key is held up');
  for (const { key, row, behind } of keys)
    console.log(
      `${oneLine(key)}: ${behind} behind ${row.id}, which is ${row.state}${row.lastError === null ? '' : `: ${oneLine(row.lastError)}`}`,
    );
}

async function show(words: TableWords, id: string, flags: CommonFlags & { bytes: number }): Promise<void> {
  await usingMonitor(words, flags, async (monitor, { name }) => {
    const row = await monitor.show(await idMeant(monitor, words, id), flags.bytes);
    if (row === undefined)
      throw new CliError(`there is no message ${id} in the ${words.name} of ${name}`, 'it may have left; look at its receiver');
    if (flags.json) console.log(JSON.stringify({ ...row, headers: Object.fromEntries(row.headers) }));
    else printShown(row);
  });
}

/** Ids of ours are upper-case; a copy from elsewhere may not be. An inbox keeps its senders' ids, in whatever letters. */
async function idMeant(monitor: AwaitedMonitor, { name }: TableWords, id: string): Promise<string> {
  const upper = id.toUpperCase();
  if (id === upper || !/^[0-9A-F]{32}$/.test(upper)) return id;
  return name === 'inbox' && (await monitor.show(id, 0)) !== undefined ? id : upper;
}

function printShown({ headers, body, ...row }: ShownRow): void {
  for (const [name, value] of Object.entries(row)) {
    if (value === null || value === '') continue;
    const isTime = name.endsWith('At') && typeof value === 'number' && value > 0;
    console.log(`${name.padEnd(16)} ${isTime ? new Date(value).toISOString() : oneLine(String(value))}`);
  }
  for (const [name, value] of headers) console.log(`header           ${oneLine(`${name}: ${value}`)}`);
  if (body === undefined) console.log('body             is not kept');
  else {
    console.log(`body             ${body.text ?? `(hex) ${body.hex}`}`);
    if (body.more > 0) console.log(`                 … and ${body.more} bytes more (--bytes)`);
  }
}

async function act(words: TableWords, action: Action, ids: readonly string[], flags: ActFlags): Promise<void> {
  const selection = selectionOf(flags, ids);
  const { limit: _limit, ...chosen } = selection;
  if (flags.execute === true && flags.all !== true && Object.values(chosen).every((value) => value === undefined))
    throw new CliError(
      `${action} --execute without any choice would change every message it is for`,
      'choose, or add --all',
      'usage',
    );
  await usingMonitor(words, flags, async (monitor) => {
    const meant: string[] = [];
    for (const id of ids) meant.push(await idMeant(monitor, words, id));
    const report = await monitor.act(action, selectionOf(flags, meant), {
      execute: flags.execute === true,
      reason: flags.reason,
    });
    if (flags.json) {
      for (const item of report.items) console.log(JSON.stringify({ action, executed: report.executed, ...item }));
    } else printReport(report);
    // What was named and could not be done is a failure; what was chosen by description and has left meanwhile is not.
    if (ids.length > 0 && report.items.some(({ result }) => result === 'refused')) process.exitCode = 1;
  });
}

const DONE: Readonly<Record<Action, string>> = { retry: 'tried again', requeue: 'queued anew', bury: 'buried' };

function printReport({ action, executed, changed, complete, items }: ActReport): void {
  for (const item of items) console.log(itemLine(item, executed));
  const more = complete ? '' : '; there are more (--limit)';
  if (executed) console.log(`${changed} of ${items.length} ${DONE[action]}${more}`);
  else console.log(`would be ${DONE[action]}: ${changed} of ${items.length}${more}; nothing was changed, add --execute to do it`);
}

function itemLine({ id, topic, key, from, state, result, note }: ActItem, executed: boolean): string {
  const where = topic === '' ? '' : oneLine(` ${topic}${key === null ? '' : ` ${key}`}`);
  const what = executed && result === 'changed' ? `${from} → ${state}` : result === 'refused' ? `refused, ${state}` : from;
  return `${id}${where}: ${what}${note === undefined ? '' : ` (${note})`}`;
}

function selectionOf(flags: SelectFlags, ids: readonly string[]): Selection {
  return {
    ids: ids.length === 0 ? undefined : ids,
    states: flags.state,
    key: flags.key,
    businessKey: flags.businessKey,
    topic: flags.topic,
    type: flags.type,
    module: flags.module,
    error: flags.error,
    outcome: flags.outcome,
    olderThanMs: flags.olderThan,
    limit: flags.limit,
  };
}

async function usingMonitor(
  { table }: TableWords,
  flags: CommonFlags & { readonly keysKept?: number },
  work: (monitor: AwaitedMonitor, open: OpenDatabase) => Promise<void>,
): Promise<void> {
  const { createMonitor } = await import('@tallystick/reliable');
  await usingDatabase(flags, (open) => {
    const channel = flags.consumer ?? flags.channel ?? '';
    const monitor = createMonitor(open.db, { table, channel, keysKeptMs: flags.keysKept });
    return work(monitor as unknown as AwaitedMonitor, open);
  });
}

/** A monitor whose answers may be promises or not; all are awaited. */
type AwaitedMonitor = {
  [K in 'blockedKeys' | 'select' | 'counts' | 'show' | 'act']: (
    ...parameters: Parameters<Monitor<PgLike>[K]>
  ) => Promise<Awaited<ReturnType<Monitor<PgLike>[K]>>>;
};
type PgLike = Extract<OpenDatabase['db'], { readonly totalCount: number }>;
