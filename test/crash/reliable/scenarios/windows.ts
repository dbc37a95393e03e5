/** The inbox forgets: keys are kept for a time, and messages come again later than anybody thought. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { BRANCHES, type Stage } from '../stage.ts';

const WINDOW_MS = 5000;
/** So few that each has a key of its own: all of them leave in one go. */
const TOGETHER = 8;
const WINDOW = { keepKeysMs: WINDOW_MS, redeliveryMs: WINDOW_MS, forgetIntervalMs: 100, oldMessages: 'hold' } as const;
/** Who says that nothing comes again, and forgets as early. */
const NO_WINDOW = { keepKeysMs: 50, redeliveryMs: 0, forgetIntervalMs: 50, oldMessages: 'handle' } as const;
/** With a defect nothing more may come. */
const WITHIN_MS = { sound: 30_000, defect: 4000 };

const forgottenKeys: Scenario = {
  name: 'forgotten-keys',
  sentence:
    'keys of handled messages are forgotten while a dead relay’s messages come again: inside the window they are absorbed, after it they are held',
  share: 1,
  faults: ['short window refused', 'keys forgotten', 'absorbed late', 'held as too old'],
  async run(stage) {
    stage.window = WINDOW;
    stage.passDead = true;
    await refuseShortWindow(stage);
    const { relay } = await stage.spawnAll();
    stage.allow(0.4);
    await nothingOnItsWay(stage);
    await sleep(WINDOW_MS / 2);

    // Inside the window: the first keys are forgotten, those that come again are not.
    await pushedNotSettled(stage, relay);
    await comes(stage, 'the first keys are forgotten', () => (stage.counts.get('key-forgotten') ?? 0) > 0);
    const absorbed = (): number => stage.counts.get('duplicate-absorbed') ?? 0;
    const before = absorbed();
    const heir = await stage.spawn('relay');
    await comes(stage, 'what comes again is absorbed', () => absorbed() > before);
    stage.fault('absorbed late', absorbed() - before);
    if (stage.options.defect !== undefined) return;
    stage.allow((stage.transfers - TOGETHER) / stage.transfers);
    await nothingOnItsWay(stage);

    // After it: nobody can tell whether it was handled, so a person has to.
    await pushedNotSettled(stage, heir);
    await comes(stage, 'all keys are forgotten', async () => (await keysIn(stage)) === 0);
    stage.fault('keys forgotten', stage.counts.get('key-forgotten') ?? 0);
    await stage.spawn('relay');
    await comes(stage, 'what is too old is held', async () => (await stage.progress()).deadInInbox > 0);
    stage.fault('held as too old', (await stage.progress()).deadInInbox);
    if ((stage.counts.get('alarm-inbox-old') ?? 0) === 0)
      stage.violations.push({ invariant: 'window-kept', seen: 'nobody was told of what came too late' });
  },
};

const effectKnown: Scenario = {
  name: 'effect-known',
  sentence: 'keys are forgotten at once, then a dead relay’s messages come again: the business itself knows their effects',
  share: 1,
  faults: ['keys forgotten', 'known by its effect'],
  async run(stage) {
    stage.branches = BRANCHES;
    stage.window = NO_WINDOW;
    const { relay } = await stage.spawnAll();
    stage.allow(0.5);
    await nothingOnItsWay(stage);
    await pushedNotSettled(stage, relay);
    await comes(stage, 'all keys are forgotten', async () => (await keysIn(stage)) === 0);
    stage.fault('keys forgotten', stage.counts.get('key-forgotten') ?? 0);
    await stage.spawn('relay');
    const known = (): number => stage.counts.get('already-done') ?? 0;
    await comes(stage, 'a repeat is known, or has its effect again', async () => {
      const { effects, distinctEffects } = await stage.progress();
      return known() > 0 || effects > distinctEffects;
    });
    stage.fault('known by its effect', known());
  },
};

/** A consumer that would forget before the last redelivery does not even start. */
async function refuseShortWindow(stage: Stage): Promise<void> {
  try {
    const child = await stage.spawn('consumer', { window: { ...WINDOW, redeliveryMs: WINDOW_MS + 1 } });
    await child.kill();
    stage.violations.push({ invariant: 'window-kept', seen: 'a window shorter than the time in which messages come again' });
  } catch (error) {
    if (/keepKeysMs must be at least redeliveryMs \(5001\)/.test(String(error))) stage.fault('short window refused');
    else throw error;
  }
}

async function nothingOnItsWay(stage: Stage): Promise<void> {
  await stage.reaches(
    'nothing is on its way',
    ({ made, effects, open }) => made >= stage.allowed && effects >= made && open === 0,
  );
}

/** A few more transfers leave and have their effects; the relay dies before it has settled them. */
async function pushedNotSettled(stage: Stage, relay: Child): Promise<void> {
  relay.arm({ step: 'after-publish' });
  stage.allow((stage.allowed + TOGETHER) / stage.transfers);
  await stage.arrived(relay, 'after-publish');
  await stage.reaches('all have their effect', ({ made, effects }) => made >= stage.allowed && effects >= made);
  await relay.kill();
}

async function keysIn(stage: Stage): Promise<number> {
  return stage.servers.b.with(stage.databaseB, async (client) => {
    const { rows } = await client.query<{ n: string }>(`select count(*) as n from tallystick_inbox where state = 'done'`);
    return Number(rows[0]?.n);
  });
}

function comes(stage: Stage, what: string, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  return stage.comesTrue(what, holds, stage.options.defect === undefined ? WITHIN_MS.sound : WITHIN_MS.defect);
}

export const windowScenarios: readonly Scenario[] = [forgottenKeys, effectKnown];
