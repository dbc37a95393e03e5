/** Start of every child: its options are its only argument. */
import { runApp } from './app.ts';
import { runConsumer } from './consumer.ts';
import { type ChildOptions, Line } from './line.ts';
import { runRelay } from './relay.ts';
import { runService } from './service.ts';
import { runSink } from './sink.ts';

const options = JSON.parse(process.argv[2]!) as ChildOptions;
const run = { app: runApp, relay: runRelay, consumer: runConsumer, sink: runSink, service: runService }[options.role];
await run(options, new Line(options));
