/** A real broker process for the crash run: the shipped Broker with small files, so that rolls and snapshots happen often. */
import { Broker } from '@tallystick/broker';

const [port, dataDir, flush] = process.argv.slice(2);
const broker = new Broker({
  port: Number(port),
  dataDir: dataDir as string,
  flush: flush === 'async' ? 'async' : 'sync',
  segmentBytes: 64 * 1024,
  groupBytes: 8 * 1024,
  blockBytes: 16 * 1024,
  tailBytes: 64 * 1024,
  spanBytes: 16 * 1024,
  checkAfterMs: 50,
  checkIntervalMs: 50,
  checkMax: 200,
  delayLevelsMs: [20, 50, 100],
  onFailed: (reason: string) => {
    process.stderr.write(`failed: ${reason}\n`);
    process.exit(70);
  },
});
await broker.start();
process.stdout.write('ready\n');
process.on('SIGTERM', () => void broker.stop().then(() => process.exit(0)));
