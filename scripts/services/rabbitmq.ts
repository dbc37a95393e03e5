/**
 * RabbitMQ, one node with a name, a cookie, a folder and a port mapper of its own, so that neither meets a RabbitMQ that the machine
 * already runs. It will not run as root: then it runs as the package's user. The management plug-in is on, because it
 * makes virtual hosts in milliseconds where `rabbitmqctl` needs seconds.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RABBITMQ_SERVER } from './install.ts';
import { accepts, emptyFolder, freePorts, launch, serviceUser, stop } from './processes.ts';
import type { ServiceState } from './state.ts';

const USER = 'tallystick';

export async function startRabbitmq(path: string): Promise<ServiceState> {
  if (!existsSync(RABBITMQ_SERVER)) throw new Error('RabbitMQ is not installed; Debian: apt-get install rabbitmq-server');
  const user = serviceUser('rabbitmq');
  const folder = emptyFolder(path, user);
  const [port, management, distribution, mapper] = (await freePorts(4)) as [number, number, number, number];
  const password = randomBytes(12).toString('hex');
  writeFileSync(join(folder, 'plugins'), '[rabbitmq_management].\n');
  writeFileSync(
    join(folder, 'rabbitmq.conf'),
    [
      `listeners.tcp.1 = 127.0.0.1:${port}`,
      'management.tcp.ip = 127.0.0.1',
      `management.tcp.port = ${management}`,
      'management_agent.disable_metrics_collector = true',
      `default_user = ${USER}`,
      `default_pass = ${password}`,
      // The tests are small; a nearly full disk must not make them wait.
      'disk_free_limit.absolute = 100MB',
      '',
    ].join('\n'),
  );
  for (const name of ['data', 'log']) emptyFolder(join(folder, name), user);
  const env = {
    HOME: folder,
    ERL_EPMD_PORT: String(mapper),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `tallystick-${mapper}@localhost`,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none.env'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
  };
  const urls = {
    url: `amqp://${USER}:${password}@127.0.0.1:${port}/%2F`,
    managementUrl: `http://${USER}:${password}@127.0.0.1:${management}`,
  };
  const epmd = await launch('epmd', {
    command: 'epmd',
    args: ['-port', String(mapper)],
    env,
    user,
    folder,
    ready: () => accepts(mapper),
  });
  try {
    const server = await launch('rabbitmq-server', {
      command: RABBITMQ_SERVER,
      args: [],
      env,
      user,
      folder,
      ready: async () => (await accepts(port)) && answers(urls.managementUrl),
    });
    return { processes: [epmd, server], urls };
  } catch (error) {
    await stop(epmd, 'SIGTERM');
    throw error;
  }
}

async function answers(url: string): Promise<boolean> {
  const { username, password, origin } = new URL(url);
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  try {
    const { ok } = await fetch(`${origin}/api/vhosts`, { headers: { authorization } });
    return ok;
  } catch {
    return false;
  }
}
