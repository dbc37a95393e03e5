/**
 * RabbitMQ, one node with a port mapper of its own, so that neither meets a RabbitMQ that the machine already runs. It will not run as
 * root: then it runs as the package's user.
 */
import { chownSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../processes.ts';
import { dataFolder, launch, MissingPeer, outputOf, type RunningServer } from './server-process.ts';

const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const MISSING = 'rabbitmq-server is not installed; Debian: apt-get install rabbitmq-server';

export function rabbitmqVersion(): string {
  if (!existsSync(SERVER)) throw new MissingPeer(MISSING);
  return outputOf('dpkg-query', ['-W', '-f', '${Version}', 'rabbitmq-server'], MISSING).replace(/-.*/, '');
}

export async function startRabbitmq(): Promise<RunningServer> {
  rabbitmqVersion();
  const folder = dataFolder('rabbitmq');
  const [port, distribution, mapper] = [await freePort(), await freePort(), await freePort()];
  const user = process.getuid?.() === 0 ? rabbitUser() : undefined;
  for (const name of ['data', 'log']) mkdirSync(join(folder.path, name));
  if (user !== undefined)
    for (const path of [folder.path, join(folder.path, 'data'), join(folder.path, 'log')]) chownSync(path, user.uid, user.gid);
  const env = {
    HOME: folder.path,
    ERL_EPMD_PORT: String(mapper),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: 'tallystick-bench@localhost',
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: join(folder.path, 'data'),
    RABBITMQ_LOG_BASE: join(folder.path, 'log'),
    RABBITMQ_CONFIG_FILE: join(folder.path, 'none'),
    RABBITMQ_CONF_ENV_FILE: join(folder.path, 'none.env'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder.path, 'plugins'),
    RABBITMQ_PID_FILE: join(folder.path, 'pid'),
  };
  const epmd = await launch('epmd', {
    command: 'epmd',
    args: ['-port', String(mapper)],
    env,
    user,
    cwd: folder.path,
    port: mapper,
  });
  try {
    const server = await launch('rabbitmq-server', { command: SERVER, args: [], env, user, cwd: folder.path, port });
    const stop = async (): Promise<void> => {
      await server.stop();
      await epmd.stop();
      folder.remove();
    };
    return { address: `127.0.0.1:${port}`, pid: server.child.pid, stop };
  } catch (error) {
    await epmd.stop();
    folder.remove();
    throw error;
  }
}

function rabbitUser(): { uid: number; gid: number } {
  const id = (flag: string): number => Number(outputOf('id', [flag, 'rabbitmq'], 'there is no user rabbitmq'));
  return { uid: id('-u'), gid: id('-g') };
}
