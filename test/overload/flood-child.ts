/** The process of a {@link Flood}. */
import { RequestCode } from '@tallystick/remoting';
import { configOf, serve } from './children.ts';
import { Flood, type FloodConfig, type Phase, type Retries } from './flood.ts';
import { ask, dial, readBack } from './read-back.ts';

const config = configOf<FloodConfig>();
const peer = await dial(config.port);
const topic = {
  topic: config.topic,
  defaultTopic: 'TBW102',
  readQueueNums: config.connections,
  writeQueueNums: config.connections,
  perm: 6,
  topicFilterType: 'SINGLE_TAG',
  topicSysFlag: 0,
  order: false,
};
const made = await ask(peer, RequestCode.UPDATE_AND_CREATE_TOPIC, topic, undefined, (reply) => reply.code);
if (made !== 0) throw new Error(`the topic was not made: ${made}`);
peer.close(true);
const flood = new Flood(config);
await flood.open();
let repeats = false;

serve({
  run: ({ phases, drainMs, retries }: { phases: readonly Phase[]; drainMs: number; retries?: Retries }) => {
    repeats ||= retries !== undefined;
    return flood.run(phases, drainMs, retries);
  },
  readBack: ({ port }: { port?: number }) => readBack(flood, port ?? config.port, repeats),
});
