/** A RabbitMQ of one's own that may be killed, revived with its data, and put under a memory alarm. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RABBITMQ_SERVER } from '../../../../scripts/services/install.ts';
import {
  accepts,
  emptyFolder,
  freePorts,
  identify,
  launch,
  serviceUser,
  stop,
  until,
} from '../../../../scripts/services/processes.ts';
import type { RunningProcess } from '../../../../scripts/services/state.ts';

export interface PrivateRabbitmq {
  readonly url: string;
  /** SIGKILL; comes back when the process is gone. */
  kill(): Promise<void>;
  revive(): Promise<void>;
  /** Runs an expression in the server, by rabbitmqctl. */
  evaluate(expression: string): string;
  close(): Promise<void>;
}

export async function privateRabbitmq(): Promise<PrivateRabbitmq> {
  const user = serviceUser('rabbitmq');
  const folder = emptyFolder(mkdtempSync(join(tmpdir(), 'tallystick-rabbitmq-')), user);
  const [port, distribution, mapper] = (await freePorts(3)) as [number, number, number];
  const cookie = randomBytes(12).toString('hex');
  for (const name of ['data', 'log']) emptyFolder(join(folder, name), user);
  writeFileSync(join(folder, 'plugins'), '[].\n');
  writeFileSync(
    join(folder, 'rabbitmq.conf'),
    `listeners.tcp.1 = 127.0.0.1:${port}\ndisk_free_limit.absolute = 50MB\ndefault_user = guest\ndefault_pass = guest\n`,
  );
  const env = {
    HOME: folder,
    ERL_EPMD_PORT: String(mapper),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `tallystick-${mapper}@localhost`,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-setcookie ${cookie} -kernel inet_dist_use_interface {127,0,0,1}`,
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none.env'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
  };
  const epmd = await launch('epmd', {
    command: 'epmd',
    args: ['-port', String(mapper)],
    env,
    user,
    folder,
    ready: () => accepts(mapper),
  });
  const start = (): Promise<RunningProcess> =>
    launch('rabbitmq-server', { command: RABBITMQ_SERVER, args: [], env, user, folder, ready: () => accepts(port) });
  let server = await start();
  const kill = async (): Promise<void> => {
    // The whole group: the server's shell script is its leader, the Erlang machine its child.
    process.kill(-server.pid, 'SIGKILL');
    await until(async () => identify(server.pid) === undefined && !(await accepts(port)), 30_000);
  };
  return {
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    kill,
    revive: async () => void (server = await start()),
    evaluate: (expression) => {
      const ctl = spawnSync(
        '/usr/lib/rabbitmq/bin/rabbitmqctl',
        ['-n', env.RABBITMQ_NODENAME, '--erlang-cookie', cookie, 'eval', expression],
        { encoding: 'utf8', env: { ...process.env, ...env }, cwd: folder, ...user },
      );
      if (ctl.status !== 0) throw new Error(`rabbitmqctl eval ${expression}: ${ctl.stdout}${ctl.stderr}`);
      return ctl.stdout;
    },
    close: async () => {
      await kill().catch(() => undefined);
      await stop(epmd, 'SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
