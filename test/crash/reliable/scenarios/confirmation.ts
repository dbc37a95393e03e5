/**
 * Messages that only their consumer's confirmation settles, by message and by request: every process that has a part in it is killed on the
 * way there and on the way back, and some confirmations are lost.
 */
import { freePort } from '../../../process/broker-process.ts';
import type { Child } from '../child-process.ts';
import type { DefectName } from '../defects.ts';
import type { Scenario } from '../scenario.ts';
import { BRANCHES, type Stage } from '../stage.ts';
import type { SteppedRole, StepName } from '../steps.ts';

const WITHIN_MS = 1200;
const LOST_EVERY = 4;
/** While the consumer waits before its commit, what it has let go of arrives. */
const WATCHED_MS = 400;

const KILLS: readonly { readonly role: SteppedRole; readonly step: StepName }[] = [
  // On the way there.
  { role: 'relay', step: 'published' },
  { role: 'relay', step: 'after-publish' },
  { role: 'relay', step: 'before-settle' },
  { role: 'relay', step: 'after-settle' },
  // The effect and its confirmation.
  { role: 'consumer', step: 'after-effect' },
  { role: 'consumer', step: 'before-effect-commit' },
  { role: 'consumer', step: 'before-ack' },
  // On the way back.
  { role: 'consumer', step: 'confirmation-claimed' },
  { role: 'consumer', step: 'confirmation-published' },
  { role: 'consumer', step: 'confirmation-unsettled' },
  { role: 'consumer', step: 'request-claimed' },
  { role: 'consumer', step: 'request-sent' },
  { role: 'consumer', step: 'request-unsettled' },
  { role: 'app', step: 'confirmation-received' },
  { role: 'app', step: 'confirmation-settled' },
  { role: 'app', step: 'request-received' },
  { role: 'app', step: 'request-settled' },
  // And once more.
  { role: 'consumer', step: 'before-repeat-commit' },
];

/** What exposes a defect. */
const EXPOSING: Partial<Record<DefectName, readonly StepName[]>> = {
  'confirm-before-commit': ['before-effect-commit'],
  'repeat-not-confirmed': [],
  'new-serial-on-repeat': [],
};

const confirmation: Scenario = {
  name: 'confirmation',
  sentence: `messages are settled by their consumer’s confirmation; app, relay and consumer are killed at ${KILLS.length} steps of its way, and some confirmations are lost`,
  share: 2,
  faults: [...KILLS.map(({ role, step }) => `killed ${role} ${step}`), 'confirmation lost', 'sent again'],
  async run(stage) {
    stage.branches = BRANCHES;
    stage.confirmation = {
      withinMs: WITHIN_MS,
      replies: `${stage.topic}-replies`,
      port: await freePort(),
      token: `token of ${stage.topic}`,
      lostEvery: LOST_EVERY,
    };
    const victims: Record<SteppedRole, Child> = await stage.spawnAll();
    const exposing = EXPOSING[stage.options.defect ?? 'no-inbox'];
    const kills = KILLS.filter(({ step }) => exposing?.includes(step) ?? true);
    for (const [n, { role, step }] of kills.entries()) {
      victims[role].arm({ step });
      stage.allow((n + 1) / (kills.length + 1));
      if ((await stage.arrived(victims[role], step)) === undefined) continue;
      await stage.watchConfirmed(step === 'before-effect-commit' ? WATCHED_MS : 0);
      await victims[role].kill();
      stage.fault(`killed ${role} ${step}`);
      victims[role] = await stage.spawn(role);
    }
    await stage.rest();
    await stage.watchConfirmed(0);
    stage.fault('confirmation lost', stage.counts.get('confirmation-lost') ?? 0);
    stage.fault('sent again', await sentAgain(stage));
  },
};

/** How often a relay has sent again what nobody had confirmed in time. */
async function sentAgain(stage: Stage): Promise<number> {
  return stage.servers.a.with(stage.databaseA, async (client) => {
    const { rows } = await client.query<{ again: string }>(
      `select coalesce(sum(times - 1), 0) as again from
       (select count(*) as times from settling where state = 'sent' group by message_id) as each`,
    );
    return Number(rows[0]?.again);
  });
}

export const confirmationScenarios: readonly Scenario[] = [confirmation];
