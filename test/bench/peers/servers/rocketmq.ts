/** Apache RocketMQ: a name server and one broker, at its defaults but for sizes that fit a small machine. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../processes.ts';
import { classPathOf, jarVersion } from './java.ts';
import { dataFolder, launch, type RunningServer } from './server-process.ts';

export function rocketmqVersion(): string {
  classPathOf('rocketmq');
  return jarVersion('rocketmq', 'rocketmq-broker-');
}

export async function startRocketmq(flushDiskType: 'ASYNC_FLUSH' | 'SYNC_FLUSH'): Promise<RunningServer> {
  const nameServer = await startNameServer();
  try {
    const broker = await startBroker({ nameServer: nameServer.address, settings: { flushDiskType } });
    const stop = async (): Promise<void> => {
      await broker.stop();
      await nameServer.stop();
    };
    return { address: nameServer.address, pid: broker.pid, stop };
  } catch (error) {
    await nameServer.stop();
    throw error;
  }
}

export async function startNameServer(): Promise<RunningServer> {
  const folder = dataFolder('rocketmq-names');
  const port = await freePort();
  const file = join(folder.path, 'names.properties');
  writeFileSync(file, `listenPort=${port}\n`);
  const args = ['-Xms128m', '-Xmx256m', ...homeIn(folder.path), 'org.apache.rocketmq.namesrv.NamesrvStartup', '-c', file];
  return serverOn(port, folder, () => launch('rocketmq name server', { command: 'java', args, port }));
}

/** A broker that registers at a name server, whosever it is. */
export async function startBroker(given: {
  readonly nameServer: string;
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  readonly memory?: readonly string[];
}): Promise<RunningServer> {
  const folder = dataFolder('rocketmq');
  const [port, high] = [await freePort(), await freePort()];
  const settings = {
    brokerName: 'broker-a',
    brokerIP1: '127.0.0.1',
    listenPort: port,
    haListenPort: high,
    namesrvAddr: given.nameServer,
    storePathRootDir: join(folder.path, 'store'),
    storePathCommitLog: join(folder.path, 'store/commitlog'),
    brokerRole: 'ASYNC_MASTER',
    autoCreateTopicEnable: true,
    ...given.settings,
  };
  const file = join(folder.path, 'broker.conf');
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const memory = given.memory ?? ['-Xms2g', '-Xmx2g', '-XX:MaxDirectMemorySize=2g', '-XX:+UseG1GC'];
  const opens = [
    '--add-exports=java.base/sun.nio.ch=ALL-UNNAMED',
    '--add-opens=java.base/java.nio=ALL-UNNAMED',
    '--add-opens=java.base/sun.nio.ch=ALL-UNNAMED',
  ];
  const args = [...memory, ...opens, ...homeIn(folder.path), 'org.apache.rocketmq.broker.BrokerStartup', '-c', file];
  return serverOn(port, folder, () => launch('rocketmq broker', { command: 'java', args, port }));
}

function homeIn(folder: string): string[] {
  return [`-Duser.home=${folder}`, `-Drocketmq.home.dir=${folder}`, '-cp', classPathOf('rocketmq')];
}

async function serverOn(
  port: number,
  folder: ReturnType<typeof dataFolder>,
  start: () => ReturnType<typeof launch>,
): Promise<RunningServer> {
  try {
    const { child, stop } = await start();
    const stopAll = async (): Promise<void> => {
      await stop();
      folder.remove();
    };
    return { address: `127.0.0.1:${port}`, pid: child.pid, stop: stopAll };
  } catch (error) {
    folder.remove();
    throw error;
  }
}
