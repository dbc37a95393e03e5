/** A consumer group whose members come, go and die. */
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';

const rebalance: Scenario = {
  name: 'rebalance',
  sentence: 'consumers join, leave in order and are killed while messages flow',
  share: 2,
  faults: ['consumer joined', 'consumer left', 'consumer killed'],
  async run(stage) {
    const { consumer } = await stage.spawnAll();
    const members: Child[] = [consumer];
    const acts = ['join', 'join', 'leave', 'join', 'kill', 'leave', 'join', 'kill'] as const;
    for (const [n, act] of acts.entries()) {
      const { effects } = await stage.progress();
      stage.allow((n + 1) / acts.length);
      await stage.reaches('effects go on', (now) => now.effects > effects);
      if (act === 'join') members.push(await stage.spawn('consumer'));
      // The oldest: it holds most.
      const gone = act === 'join' ? undefined : members.shift();
      if (act === 'leave') await gone?.stop();
      if (act === 'kill') await gone?.kill();
      stage.fault({ join: 'consumer joined', leave: 'consumer left', kill: 'consumer killed' }[act]);
    }
  },
};

export const consumerScenarios: readonly Scenario[] = [rebalance];
