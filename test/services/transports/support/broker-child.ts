/** Our broker in a process of its own, as the command line starts it, except that it makes no topics by itself. */
import { Broker } from '@tallystick/broker';

const given = (flag: string): string => process.argv[process.argv.indexOf(flag) + 1]!;
const broker = new Broker({ port: Number(given('--port')), dataDir: given('--data'), flush: 'sync', autoCreateTopics: false });
await broker.start();
process.stdout.write(`ready on ${broker.address}\n`);
