/**
 * `npm run docs` writes the reference pages from the tables in the code, and the benchmarks' page from their data; with `--check` it
 * only compares and fails when a page is not what its table says. A page's first line names its table, so nobody mends the page by hand.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { OptionTable } from '@tallystick/base';
import { BROKER_OPTIONS } from '@tallystick/broker';
import * as client from '@tallystick/client';
import * as reliable from '@tallystick/reliable';
import { protocolPage } from '@tallystick/remoting';
import { benchmarksPage } from '../test/bench/page.ts';
import { exitCodes } from '../packages/cli/src/cli-error.ts';
import { programOf } from '../packages/cli/src/program.ts';
import { commandsPage } from './docs/commands-page.ts';
import { errorsPage } from './docs/errors-page.ts';
import { handlesPage } from './docs/handles-page.ts';
import { optionsPage } from './docs/options-page.ts';

const options = (): string =>
  optionsPage([
    { title: 'Broker', given: '`new Broker({ … })`; some are flags of `tallystick broker`.', table: BROKER_OPTIONS },
    { title: 'Client', given: '`new Client({ … })`.', table: client.CLIENT_OPTIONS },
    { title: 'Producer', given: '`client.producer({ … })`.', table: client.PRODUCER_OPTIONS },
    {
      title: 'Transaction producer',
      given: '`client.transactionProducer({ … })`: all of the producer’s, and',
      table: beyond(client.TRANSACTION_OPTIONS, client.PRODUCER_OPTIONS),
    },
    { title: 'Consumer', given: '`client.consumer({ … })`.', table: client.CONSUMER_OPTIONS },
    { title: 'Outbox', given: '`createOutbox(db, { … })`.', table: reliable.OUTBOX_OPTIONS },
    { title: 'Relay', given: '`createRelay({ … })`.', table: reliable.RELAY_OPTIONS },
    {
      title: 'Inbox',
      given: '`createInbox(db, { … })`: all of a handler’s, as defaults of its handlers, and',
      table: beyond(reliable.INBOX_OPTIONS, reliable.HANDLER_OPTIONS),
    },
    {
      title: 'Inbox handler',
      given: '`inbox.handle(type, handler, { … })`; the first two are also those of `locks.with(name, { … }, fn)`.',
      table: reliable.HANDLER_OPTIONS,
    },
    { title: 'Calls', given: '`createCalls(db, { … })`.', table: reliable.CALL_OPTIONS },
    { title: 'RabbitMQ transport', given: '`rabbitTransport({ connect, … })`.', table: reliable.RABBIT_TRANSPORT_OPTIONS },
    { title: 'RabbitMQ subscriber', given: '`rabbitSubscriber({ connect, … })`.', table: reliable.RABBIT_SUBSCRIBER_OPTIONS },
    { title: 'HTTP transport', given: '`httpTransport({ allow, … })`.', table: reliable.HTTP_TRANSPORT_OPTIONS },
    {
      title: 'Local-transaction table',
      given: '`createLocalTransactionTable(db, { … })`.',
      table: reliable.LOCAL_TRANSACTION_OPTIONS,
    },
    { title: 'Alarms', given: '`createAlarms({ db, … })`.', table: reliable.ALARM_OPTIONS },
  ]);

const errors = (): string =>
  errorsPage(
    [
      {
        title: '@tallystick/client',
        note: 'A broker’s answer becomes an error too: its code is the name in the [answer table](protocol.md#answer-codes), and its outcome is *unknown* where the message may be stored.',
        rows: client.ERRORS,
      },
      {
        title: '@tallystick/reliable',
        note: 'When `add` or `once` throws, nothing of the message was written.',
        rows: reliable.ERRORS,
      },
    ],
    client.SEND_FAILURES,
  );

const pages: readonly { path: string; make: () => string }[] = [
  { path: 'docs/reference/protocol.md', make: protocolPage },
  { path: 'docs/reference/options.md', make: options },
  { path: 'docs/reference/errors.md', make: errors },
  { path: 'docs/reference/commands.md', make: () => commandsPage(programOf(), exitCodes) },
  { path: 'docs/reference/handles.md', make: () => handlesPage(reliable.HANDLE_CAPABILITIES) },
  { path: 'docs/benchmarks.md', make: benchmarksPage },
];

const onlyCheck = process.argv.includes('--check');
for (const { path, make } of pages) {
  const wanted = make();
  if (wanted === present(path)) continue;
  if (onlyCheck) {
    console.error(`${path} differs from the table it is made from; run: npm run docs`);
    process.exitCode = 1;
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, wanted);
    console.log(`wrote ${path}`);
  }
}

/** The rows that a table has beyond another one. */
function beyond(table: OptionTable, other: OptionTable): OptionTable {
  return Object.fromEntries(Object.entries(table).filter(([name]) => !(name in other)));
}

function present(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
