/**
 * docs/benchmarks.md, made from docs/benchmarks.json: every figure on the page is one that a run has printed. `publish` takes new
 * results in, each in the place of the older one of its kind.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isHeld, type MarkResult, type SideResult } from './peers/marks.ts';
import type { PeersResult } from './peers/peers.ts';
import { type Value, WORKS } from './peers/works.ts';
import type { RelayResult } from './relay/relay.ts';
import type { MeasuredRow, Row } from './rows.ts';

/** What docs/benchmarks.json holds: the newest result of each kind. */
export interface Published {
  readonly peers?: PeersResult | undefined;
  readonly relay?: RelayResult | undefined;
  readonly produce?: readonly MeasuredRow[] | undefined;
  readonly transfer?: readonly MeasuredRow[] | undefined;
}

const DATA = fileURLToPath(new URL('../../docs/benchmarks.json', import.meta.url));
const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));

/** Takes the results in the files (what `--json` runs printed) into the data, and writes data and page. */
export function publish(files: readonly string[]): void {
  const published = files.map((file) => readFileSync(file, 'utf8')).reduce(takeIn, readPublished());
  writeFileSync(DATA, `${JSON.stringify(published, undefined, 1)}\n`);
  writeFileSync(PAGE, pageOf(published));
}

/** The page as the committed data makes it. */
export function benchmarksPage(): string {
  return pageOf(readPublished());
}

function readPublished(): Published {
  return existsSync(DATA) ? (JSON.parse(readFileSync(DATA, 'utf8')) as Published) : {};
}

/** The last line of a run's output is its result; what kind it is, it says itself. */
export function takeIn(published: Published, output: string): Published {
  const last = output.trim().split('\n').at(-1) ?? '';
  const result = JSON.parse(last) as Partial<PeersResult> & { rows?: readonly MeasuredRow[]; kind?: string };
  if (result.kind === 'relay') return { ...published, relay: result as unknown as RelayResult };
  if (result.marks !== undefined) return { ...published, peers: result as PeersResult };
  const work: Row['work'] | undefined = result.rows?.[0]?.work;
  if (work === undefined) throw new Error(`neither rows nor marks in "${last.slice(0, 80)}"`);
  return { ...published, [work]: result.rows };
}

export function pageOf({ peers, relay, produce, transfer }: Published): string {
  const parts = [
    '<!-- Made from docs/benchmarks.json by `npm run bench -- page`; change the data by a run, the words in test/bench/page.ts. -->',
    '# Benchmarks',
    'Compare only figures of one run on one machine; the ratios travel better than the rates. Broker and client are a process each and share the machine; each acknowledgement is decoded and matched to its topic and to a new offset of its queue; keys and bodies differ per message; the messages go to two topics of eight queues.',
    ...(peers === undefined ? [] : peersParts(peers)),
    ...(relay === undefined ? [] : relayParts(relay)),
    ...(produce === undefined ? [] : produceParts(produce)),
    ...(transfer === undefined ? [] : transferParts(transfer)),
  ];
  return `${parts.join('\n\n')}\n`;
}

function peersParts({ machine, versions, settings, tookSeconds, results, marks, soak }: PeersResult): string[] {
  const { seconds, rounds, warmUpSeconds } = settings;
  const held = marks.filter(isHeld).length;
  const gone = marks.filter(({ ratio }) => ratio === null).length;
  const missing = [...new Set(results.flatMap(({ who, missing: why }) => (why === undefined ? [] : [`${who}: ${why}`])))];
  return [
    '## Beside others',
    `\`npm run bench -- peers\`: the same work against us and every peer that can be started on the machine, in one run (Debian: \`apt-get install redis-server nats-server rabbitmq-server maven openjdk-17-jdk-headless\`; a peer that is not there is shown as missing). Each figure is the median of ${rounds} rounds of ${seconds} s after ${warmUpSeconds} s of warm-up (Java: at least 3 s), each against a fresh server; within a round the sides of a row follow one another, in turned order every second round. Everybody sends the same bodies from one client process and may use the better of its windows, chosen in the first round. The measuring loop costs every JavaScript client the same: it reads the clock once in 64 messages. Everything of ours is at its default but the flush mode, and but what a row's name says; peers are configured in their favour where they have a choice (Redis without snapshots and file rewrites, RabbitMQ's client without Nagle's delay, RocketMQ's client in the better of two ways; its own benchmark programs are not published, ours does what they do).`,
    `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, data on ${machine.fileSystem}, Node ${machine.node}; ${machine.date}, ${Math.round(tookSeconds / 60)} minutes. Peers: ${Object.entries(
      versions,
    )
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}.`,
    `### Marks\n\nA mark is held when the ratio reaches it: ours ÷ theirs, turned round for limits (limit ÷ ours) and for absolute marks (measured ÷ required or the reverse, mark 1). Of ${marks.length} marks ${held} are held${gone > 0 ? `, ${gone} could not be judged` : ''}.`,
    table(
      ['work', 'what', 'against', 'ours', 'theirs', 'ratio', 'mark', '', 'durability'],
      '|---|---|---|--:|--:|--:|--:|---|---|',
      marks.map(markRow),
    ),
    '### All figures\n\n*CPU µs*: processor time per message, client + server (the client while it is measured, the server from its start of work on).',
    table(
      ['work', 'who', 'median', 'rounds', 'CPU µs', 'way', 'durability', 'remarks'],
      '|---|---|--:|---|---|---|---|---|',
      results.map(resultRow),
    ),
    ...(missing.length === 0 ? [] : [`Missing: ${missing.map(cell).join('; ')}.`]),
    ...(soak === undefined
      ? []
      : [
          `Soak: ${soak.minutes} minutes of full load (${number(soak.messagesPerSecond)}/s) on a store of at most 4 GiB (${soak.storeGiB} GiB at the end): resident memory ${soak.residentMiB.first} MiB at first, ${soak.residentMiB.middle} at half time, ${soak.residentMiB.last} at the end, ${soak.residentMiB.highest} at most; slope of the second half ${soak.slopeMiBPer10Minutes} MiB in 10 minutes.`,
        ]),
  ];
}

function relayParts({ machine, settings, tookSeconds, results, marks }: RelayResult): string[] {
  const held = marks.filter(isHeld).length;
  const given = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  return [
    '## The outbox relay',
    `\`npm run bench -- relay\`: messages of 1 KiB wait in a full table of PostgreSQL; each relay drains its own table through the same client to the same broker, and time ends when the database says that nothing is left; it begins when the drain has run for a second or more (twice as many rows go before those that are measured, a fifth of them with the slow peers, whose cost a row grows with the backlog). Each peer in the best of its ways that lose nothing. One PostgreSQL for all, durable as it comes. Machine: ${machine.cpu}, ${machine.cores} cores (database, broker and relay share them), ${machine.memoryGiB} GiB, ${machine.system}, data on ${machine.fileSystem}, Node ${machine.node}; ${machine.date}, ${Math.round(tookSeconds / 60)} minutes. Settings: ${given.join(', ')}.`,
    `### Marks of the relay\n\nOf ${marks.length} marks ${held} are held.`,
    table(
      ['work', 'against', 'ours', 'theirs', 'ratio', 'mark', '', 'durability'],
      '|---|---|--:|--:|--:|--:|---|---|',
      marks.map((mark) => [
        mark.work,
        mark.against,
        mark.ours === null ? '–' : number(mark.ours),
        mark.theirs === null ? '–' : number(mark.theirs),
        mark.ratio === null ? '–' : String(mark.ratio),
        String(mark.mark),
        mark.ratio === null ? `missing: ${mark.missing ?? ''}` : isHeld(mark) ? 'held' : '**not held**',
        mark.durability,
      ]),
    ),
    '### All figures of the relay',
    table(
      ['work', 'who', 'middle', 'unit', 'rounds', 'durability', 'remarks'],
      '|---|---|--:|---|---|---|---|',
      results.map(({ work, who, value, unit, rounds, durability, note }) => [
        work,
        who,
        number(value),
        unit,
        rounds.map(number).join(', '),
        durability,
        note,
      ]),
    ),
  ];
}

function markRow(mark: MarkResult): string[] {
  const work = WORKS.find(({ name }) => name === mark.work);
  const value = work?.value ?? 'perSecond';
  const verdict = mark.ratio === null ? 'missing' : isHeld(mark) ? 'held' : '**not held**';
  const show = (figure: number | null): string => (figure === null ? '–' : shown(value, figure));
  return [
    mark.work,
    work?.title ?? '',
    mark.against,
    show(mark.ours),
    show(mark.theirs),
    mark.ratio === null ? '–' : String(mark.ratio),
    String(mark.mark),
    verdict,
    mark.durability,
  ];
}

function resultRow({ work, who, values, rounds, way, durability, note, missing }: SideResult): string[] {
  const names = Object.keys(values) as Value[];
  // A rate comes with the latencies of its samples; they are another work's figures.
  const primary = names.includes('perSecond') ? (['perSecond'] as const) : names.filter((name) => !name.endsWith('CpuUs'));
  const text = (one: SideResult['values']): string => primary.map((name) => shown(name, one[name] ?? Number.NaN)).join(' / ');
  const cpu = [values.clientCpuUs, values.serverCpuUs]
    .map((us) => (us === undefined ? '–' : Number(us.toPrecision(3))))
    .join(' + ');
  return [work, who, missing === undefined ? text(values) : 'missing', rounds.map(text).join(', '), cpu, way, durability, note];
}

function shown(value: Value, figure: number): string {
  switch (value) {
    case 'perSecond':
      return `${number(figure)}/s`;
    case 'p50Ms':
    case 'p99Ms':
      return `${number(figure)} ms`;
    case 'megabytes':
      return `${figure} MB`;
    case 'gigabytesPerSecond':
      return `${figure} GB/s`;
    case 'clientCpuUs':
    case 'serverCpuUs':
      return `${figure} µs`;
  }
}

function produceParts(rows: readonly MeasuredRow[]): string[] {
  return [
    '## Produce',
    '`npm run bench -- produce`. *batch*: callbacks over the accumulator; *promise*: `await send()` over the accumulator; *single*: one request per message (`batchSizeBytes: 0`). One header per message besides key and body.',
    table(
      ['flush', 'mode', 'header', 'body', 'in flight', 'messages/s', 'p50 ms', 'p99 ms'],
      '|---|---|---|--:|--:|--:|--:|--:|',
      rows.map(({ flush, mode, header, bytes, inFlight, messagesPerSecond, p50Ms, p99Ms }) =>
        [flush, mode, header, `${bytes} B`, inFlight, number(messagesPerSecond), p50Ms, p99Ms].map(String),
      ),
    ),
  ];
}

function transferParts(rows: readonly MeasuredRow[]): string[] {
  return [
    '## Transfer',
    "`npm run bench -- transfer`: a debit with its outbox row, the relay, the broker, a credit through the inbox, the confirmation, the settled journal row; two SQLite databases with `synchronous=FULL` in one process. The databases' commits are the limit: each transfer needs three of its own.",
    table(
      ['broker flush', 'in flight', 'transfers/s', 'p50 ms', 'p99 ms'],
      '|---|--:|--:|--:|--:|',
      rows.map(({ flush, inFlight, messagesPerSecond, p50Ms, p99Ms }) =>
        [flush, inFlight, number(messagesPerSecond), p50Ms, p99Ms].map(String),
      ),
    ),
  ];
}

function table(head: readonly string[], rule: string, rows: readonly (readonly string[])[]): string {
  return [head, ...rows.map((row) => row.map(cell))]
    .map((row) => `| ${row.join(' | ')} |`)
    .toSpliced(1, 0, rule)
    .join('\n');
}

/** Text of others may hold what a table cannot. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').slice(0, 300);
}

function number(figure: number): string {
  return figure.toLocaleString('en-US', { maximumFractionDigits: figure < 10 ? 3 : 1 });
}
