/** A real broker process as shipped, but for one wait: a queue's lock outlives its dead holder by seconds instead of a minute. */
import { parseArgs } from 'node:util';
import { Broker } from '@tallystick/broker';

const { values } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string' }, data: { type: 'string' }, 'lock-lease': { type: 'string', default: '1500' } },
});
const broker = new Broker({
  port: Number(values.port),
  dataDir: values.data!,
  flush: 'sync',
  lockLeaseMs: Number(values['lock-lease']),
  onFailed: (reason: string) => {
    process.stderr.write(`failed: ${reason}\n`);
    process.exit(70);
  },
});
await broker.start();
process.stdout.write(`ready on ${broker.address}\n`);
process.on('SIGTERM', () => void broker.stop().then(() => process.exit(0)));
