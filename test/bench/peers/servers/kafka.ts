/** Apache Kafka, a single node in KRaft mode at its defaults: no sync before an acknowledgement. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../processes.ts';
import { classPathOf, jarVersion } from './java.ts';
import { dataFolder, launch, MissingPeer, type RunningServer } from './server-process.ts';

const CLUSTER = 'dGFsbHlzdGljay1iZW5jaA';

export function kafkaVersion(): string {
  classPathOf('kafka');
  return jarVersion('kafka', 'kafka_2.13-');
}

export async function startKafka(): Promise<RunningServer> {
  const classPath = classPathOf('kafka');
  const folder = dataFolder('kafka');
  const [port, controller] = [await freePort(), await freePort()];
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder.path, 'data'),
    'offsets.topic.replication.factor': 1,
  };
  const file = join(folder.path, 'server.properties');
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const java = ['-cp', classPath];
  const format = spawnSync('java', [...java, 'kafka.tools.StorageTool', 'format', '-t', CLUSTER, '-c', file], {
    encoding: 'utf8',
  });
  if (format.status !== 0) throw new MissingPeer(`kafka: its folder could not be formatted: ${format.stderr.slice(-300)}`);
  const heap = ['-Xms1g', '-Xmx1g', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20'];
  const { child, stop } = await launch('kafka', { command: 'java', args: [...heap, ...java, 'kafka.Kafka', file], port });
  return { address: `127.0.0.1:${port}`, pid: child.pid, stop: () => stop().finally(folder.remove) };
}
