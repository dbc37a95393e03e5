/** A real broker process for the test of the transient store pool: the shipped Broker, with the options that its parent gives as JSON. */
import { Broker, type GivenBrokerOptions } from '@tallystick/broker';

const [dataDir, options] = process.argv.slice(2);
const broker = new Broker({ port: 0, dataDir: dataDir as string, ...(JSON.parse(options as string) as GivenBrokerOptions) });
await broker.start();
process.stdout.write(`ready on ${broker.address}\n`);
process.on('SIGTERM', () => void broker.stop().then(() => process.exit(0)));
