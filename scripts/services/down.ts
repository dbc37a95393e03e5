/** `npm run services:down`: stops what `services:up` started, by process id, and removes its data. Nothing there: nothing to do. */
import { rmSync } from 'node:fs';
import { stopContainers } from './containers.ts';
import { stop } from './processes.ts';
import { forgetState, readState, type ServiceName } from './state.ts';

/** Last started, first stopped. PostgreSQL takes SIGINT for "now, but in order", and SIGTERM for "when all clients have left". */
const ORDER: readonly (readonly [ServiceName, NodeJS.Signals])[] = [
  ['pgbouncer', 'SIGTERM'],
  ['postgres', 'SIGINT'],
  ['rabbitmq', 'SIGTERM'],
];

if (process.argv.length > 2) {
  console.error('usage: npm run services:down (stops what services:up started and removes its data)');
  process.exit(2);
}
const state = readState();
if (state === undefined) console.log('no services are known here');
else if (state.kind === 'containers') stopContainers();
else {
  for (const [name, signal] of ORDER)
    for (const running of [...(state.services[name]?.processes ?? [])].reverse()) {
      await stop(running, signal);
      console.log(`${name} stopped (${running.pid})`);
    }
  rmSync(state.folder, { recursive: true, force: true });
}
forgetState();
