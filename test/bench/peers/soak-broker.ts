/** The broker of a soak: everything at its default but the flush mode and the size of its store. */
import { Broker } from '@tallystick/broker';

const [dataDir, storeMaxBytes] = process.argv.slice(2) as [string, string];
const broker = new Broker({ dataDir, port: 0, flush: 'async', storeMaxBytes: Number(storeMaxBytes) });
await broker.start();
process.stdout.write(`${broker.address}\n`);
