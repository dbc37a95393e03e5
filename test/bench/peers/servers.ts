/** Every server of the comparison by name: how it is started and which version it is. */
import { kafkaVersion, startKafka } from './servers/kafka.ts';
import { natsVersion, startNats } from './servers/nats.ts';
import { rabbitmqVersion, startRabbitmq } from './servers/rabbitmq.ts';
import { redisVersion, startRedis } from './servers/redis.ts';
import { rocketmqVersion, startRocketmq } from './servers/rocketmq.ts';
import type { RunningServer } from './servers/server-process.ts';
import { startTallystick } from './servers/tallystick.ts';

export const SERVERS = {
  'tallystick-sync': () => startTallystick('sync'),
  'tallystick-async': () => startTallystick('async'),
  'redis-everysec': () => startRedis('everysec'),
  'redis-always': () => startRedis('always'),
  nats: startNats,
  rabbitmq: startRabbitmq,
  kafka: startKafka,
  'rocketmq-async': () => startRocketmq('ASYNC_FLUSH'),
  'rocketmq-sync': () => startRocketmq('SYNC_FLUSH'),
} satisfies Record<string, () => Promise<RunningServer>>;

export type ServerName = keyof typeof SERVERS;

/** Versions of the peers that are on this machine. */
export function peerVersions(): Record<string, string> {
  const peers = {
    Redis: redisVersion,
    NATS: natsVersion,
    RabbitMQ: rabbitmqVersion,
    Kafka: kafkaVersion,
    RocketMQ: rocketmqVersion,
  };
  return Object.fromEntries(
    Object.entries(peers).map(([name, version]) => {
      try {
        return [name, version()];
      } catch (error) {
        return [name, `missing: ${(error as Error).message}`];
      }
    }),
  );
}
