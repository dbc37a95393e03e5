/** pgbouncer before the PostgreSQL of the services, in transaction mode: a session's state does not survive its transaction. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pgbouncerProgram } from './install.ts';
import { accepts, emptyFolder, freePorts, launch, serviceUser } from './processes.ts';
import type { ServiceState } from './state.ts';

export async function startPgbouncer(path: string, postgresUrl: string): Promise<ServiceState> {
  const command = pgbouncerProgram();
  if (command === undefined) throw new Error('pgbouncer is not installed; Debian: apt-get install pgbouncer');
  // The user of PostgreSQL's package serves for both, as Debian has it.
  const user = serviceUser('postgres');
  const folder = emptyFolder(path, user);
  const [port] = (await freePorts(1)) as [number];
  const server = new URL(postgresUrl);
  writeFileSync(join(folder, 'users.txt'), `"${server.username}" "${server.password}"\n`);
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    [
      '[databases]',
      `* = host=127.0.0.1 port=${server.port}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = scram-sha-256',
      `auth_file = ${join(folder, 'users.txt')}`,
      `admin_users = ${server.username}`,
      'pool_mode = transaction',
      'max_client_conn = 1000',
      'default_pool_size = 20',
      'server_idle_timeout = 10',
      'ignore_startup_parameters = extra_float_digits',
      '',
    ].join('\n'),
  );
  const running = await launch('pgbouncer', {
    command,
    args: [join(folder, 'pgbouncer.ini')],
    user,
    folder,
    ready: () => accepts(port),
  });
  server.port = String(port);
  return { processes: [running], urls: { url: server.href } };
}
