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
  const classPath = classPathOf('rocketmq');
  const folder = dataFolder('rocketmq');
  const [names, port, high] = [await freePort(), await freePort(), await freePort()];
  const home = [`-Duser.home=${folder.path}`, `-Drocketmq.home.dir=${folder.path}`, '-cp', classPath];
  const nameFile = join(folder.path, 'names.properties');
  writeFileSync(nameFile, `listenPort=${names}\n`);
  const settings = {
    brokerName: 'broker-a',
    brokerIP1: '127.0.0.1',
    listenPort: port,
    haListenPort: high,
    namesrvAddr: `127.0.0.1:${names}`,
    storePathRootDir: join(folder.path, 'store'),
    storePathCommitLog: join(folder.path, 'store/commitlog'),
    brokerRole: 'ASYNC_MASTER',
    flushDiskType,
    autoCreateTopicEnable: true,
  };
  const file = join(folder.path, 'broker.conf');
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const nameServer = await launch('rocketmq name server', {
    command: 'java',
    args: ['-Xms128m', '-Xmx256m', ...home, 'org.apache.rocketmq.namesrv.NamesrvStartup', '-c', nameFile],
    port: names,
  });
  try {
    const memory = ['-Xms2g', '-Xmx2g', '-XX:MaxDirectMemorySize=2g', '-XX:+UseG1GC'];
    const opens = [
      '--add-exports=java.base/sun.nio.ch=ALL-UNNAMED',
      '--add-opens=java.base/java.nio=ALL-UNNAMED',
      '--add-opens=java.base/sun.nio.ch=ALL-UNNAMED',
    ];
    const broker = await launch('rocketmq broker', {
      command: 'java',
      args: [...memory, ...opens, ...home, 'org.apache.rocketmq.broker.BrokerStartup', '-c', file],
      port,
    });
    const stop = async (): Promise<void> => {
      await broker.stop();
      await nameServer.stop();
      folder.remove();
    };
    return { address: `127.0.0.1:${names}`, pid: broker.child.pid, stop };
  } catch (error) {
    await nameServer.stop();
    folder.remove();
    throw error;
  }
}
