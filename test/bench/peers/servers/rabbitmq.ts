/** RabbitMQ as it comes, but for a port and a folder of its own. */
import {
  rabbitmqIsInstalled,
  rabbitmqVersion as installedVersion,
  startRabbitmq as startNode,
} from '../../../../scripts/services/rabbitmq.ts';
import { MissingPeer, type RunningServer } from './server-process.ts';

export function rabbitmqVersion(): string {
  if (!rabbitmqIsInstalled()) throw new MissingPeer('rabbitmq-server is not installed; Debian: apt-get install rabbitmq-server');
  return installedVersion();
}

export async function startRabbitmq(): Promise<RunningServer> {
  rabbitmqVersion();
  const node = await startNode({ busyWaiting: true }).catch((error: unknown) => {
    throw new MissingPeer((error as Error).message);
  });
  return { address: `127.0.0.1:${node.port}`, pid: node.pid, stop: () => node.close() };
}
