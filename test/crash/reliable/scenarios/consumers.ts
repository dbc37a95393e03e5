/** A consumer group whose members come, go and die. */
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { BRANCHES } from '../stage.ts';

const rebalance: Scenario = {
  name: 'rebalance',
  sentence: 'consumers join, leave in order and are killed while messages flow',
  share: 2,
  faults: ['consumer joined', 'consumer left', 'consumer killed'],
  async run(stage) {
    stage.branches = BRANCHES;
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

const POISONED = 2;
const DEATHS_LIMIT = 40;

const poison: Scenario = {
  name: 'poison',
  sentence: 'some messages kill every process that handles them; they are found and put aside, all others have their effect',
  share: 1.5,
  faults: ['killed by a message'],
  async run(stage) {
    stage.branches = BRANCHES;
    const step = Math.floor(stage.transfers / (POISONED + 1));
    for (let n = 1; n <= POISONED; n++) stage.poison.add(n * step);
    const { consumer } = await stage.spawnAll();
    stage.allow(1);
    let victim = consumer;
    for (let deaths = 0; deaths < DEATHS_LIMIT;) {
      const { deadInInbox, made, open } = await stage.progress();
      if (deadInInbox >= POISONED && made >= stage.transfers && open === 0) break;
      if (!(await victim.endsWithin(200))) continue;
      victim.expectedToEnd = true;
      stage.fault('killed by a message');
      deaths++;
      victim = await stage.spawn('consumer');
    }
  },
};

export const consumerScenarios: readonly Scenario[] = [rebalance, poison];
