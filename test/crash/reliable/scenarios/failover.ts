/**
 * Bank A's server is lost and its standby takes its place. The standby is waited for, so what was answered as committed is there; what it has
 * missed was never answered. After that the number of a transaction may be another's, so the service asks for what it wrote: its marker row.
 */
import type { Scenario } from '../scenario.ts';
import { SteadyAddress } from '../servers/steady-address.ts';
import type { Stage } from '../stage.ts';

const ROUNDS = { defect: 1, ci: 2, full: 6 };
/** Commits at once that the standby has to miss. */
const MISSED = 2;

const failover: Scenario = {
  name: 'failover',
  sentence:
    'the server of database A is lost for good and its standby is promoted, once under load and once with commits that the standby has missed',
  share: 2,
  alone: true,
  faults: [
    'standby promoted under load',
    'standby promoted without the last commits',
    'commits the standby missed',
    'asked the marker row',
  ],
  async run(stage) {
    const { a } = stage.servers;
    const address = await SteadyAddress.listen(a.port);
    try {
      await stage.spawn('consumer');
      await Promise.all([
        stage.spawn('relay', { databasePort: address.port }),
        stage.spawn('app', { databasePort: address.port }),
      ]);
      const rounds = ROUNDS[stage.options.defect !== undefined ? 'defect' : stage.options.full ? 'full' : 'ci'];
      for (let n = 0; n < rounds; n++) {
        await a.standby({ awaited: stage.options.defect !== 'standby-not-awaited' });
        const { made, effects } = await stage.progress();
        stage.allow((n + 0.6) / rounds);
        await stage.reaches('transfers flow', (now) => now.made > made && now.effects > effects);
        const missing = n % 2 === 1 || stage.options.defect !== undefined;
        if (missing) await missSome(stage, (n + 0.8) / rounds);
        // The lost server reaches nobody any more, as whoever fails over has to see to: it knows commits that nobody else will.
        address.moveTo(undefined);
        await a.failOver();
        address.moveTo(a.port);
        stage.fault(missing ? 'standby promoted without the last commits' : 'standby promoted under load');
      }
      await stage.rest();
      stage.fault('asked the marker row', stage.counts.get('asked the marker row') ?? 0);
    } finally {
      await address.close();
    }
  },
};

/** Cuts off the standby while transfers are made: their commits wait, or, where nobody waits for it, are taken for done. */
async function missSome(stage: Stage, share: number): Promise<void> {
  const { a } = stage.servers;
  await stage.reaches('all has its effect', ({ made, distinctEffects }) => made >= stage.allowed && distinctEffects >= made);
  await a.holdBackStandby();
  stage.allow(Math.max(share, (stage.allowed + MISSED) / stage.transfers));
  let waiting = 0;
  if (stage.options.defect !== undefined)
    await stage.reaches('more has its effect', ({ distinctEffects }) => distinctEffects >= stage.allowed);
  else
    await stage.comesTrue('commits wait for the standby', async () => {
      waiting = await a.commitsWaiting();
      return waiting >= MISSED;
    });
  stage.fault('commits the standby missed', waiting);
}

export const failoverScenarios: readonly Scenario[] = [failover];
