/** What happens to connections and databases: killed servers, cut connections, lost answers, late commits, contention. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type JudgedFrame, PostgresProxy } from '../../../proxy/postgres-proxy.ts';
import { GIVES_WAY } from '../child/contention.ts';
import type { Scenario } from '../scenario.ts';
import type { Role } from '../steps.ts';

const RESTARTS = 3;
/** Of the frames of the longest window, so many must have been cut after. */
const CUT_SHARE = 0.8;

const databaseRestart: Scenario = {
  name: 'database-restart',
  sentence: 'the postmasters of both databases are killed under load and started again',
  share: 2,
  alone: true,
  faults: ['postmaster of A killed', 'postmaster of B killed', 'both postmasters killed'],
  async run(stage) {
    await stage.spawnAll();
    const { a, b } = stage.servers;
    const rounds = [
      { what: 'postmaster of A killed', servers: [a] },
      { what: 'postmaster of B killed', servers: [b] },
      { what: 'both postmasters killed', servers: [a, b] },
    ];
    const all = Array.from({ length: stage.options.full ? RESTARTS : 1 }, () => rounds).flat();
    for (const [n, { what, servers }] of all.entries()) {
      const made = (await stage.progress()).made;
      stage.allow((n + 1) / all.length);
      await stage.reaches('transfers flow before the kill', (now) => now.made > made + 3 && now.open + now.effects > 0);
      await Promise.all(servers.map((server) => server.restartByKill()));
      stage.fault(what);
    }
  },
};

/** Counts the frames of one undisturbed window, then cuts after each of them. */
function cutScenario(role: Role, opens: RegExp, what: string): Scenario {
  return {
    name: `cut-${role}`,
    sentence: `the connection of the ${role} is cut after each protocol frame of ${what}, in both directions`,
    share: role === 'app' ? 2 : 1.5,
    faults: ['cut to-server', 'cut to-client'],
    async run(stage) {
      const target = role === 'consumer' ? stage.servers.b : stage.servers.a;
      const proxy = await PostgresProxy.listen(target.port, { opens });
      try {
        const plan = new CutPlan(proxy);
        for (const each of ['consumer', 'relay', 'app'] as const)
          await stage.spawn(each, each === role ? { databasePort: proxy.port } : {});
        stage.allow(0.1);
        await stage.reaches('a first window has passed', ({ effects, open }) => effects > 0 && open === 0);
        // What is done once only, such as making the lease rows, is not what windows are like.
        plan.forget();
        const before = await stage.progress();
        stage.allow(0.2);
        await stage.reaches(
          'a second window has passed',
          ({ made, effects, open }) => made > before.made && effects > before.effects && open === 0,
        );
        plan.begin();
        const first = stage.allowed;
        for (let n = 1; !plan.done && n <= plan.length; n++) {
          const cuts = plan.at;
          stage.allow((first + ((stage.transfers - first) * n) / plan.length) / stage.transfers);
          await stage
            .sees(`cut ${cuts + 1} of ${plan.length}`, () => plan.at > cuts || plan.done, 8000)
            .then((came) => {
              if (came) return;
              stage.fault('cut that did not come');
              plan.passOver();
            });
        }
        stage.fault('cut to-server', plan.cuts['to-server']);
        stage.fault('cut to-client', plan.cuts['to-client']);
        stage.counts.set('frames of a window', plan.length);
        // Windows are not all alike: the longest may have been the only one of its length.
        if (plan.cuts['to-server'] + plan.cuts['to-client'] < CUT_SHARE * plan.length)
          stage.violations.push({ invariant: 'fault-came-about', seen: `cuts: ${JSON.stringify(plan.cuts)} of ${plan.length}` });
        proxy.judge = () => 'pass';
        await stage.rest();
      } finally {
        await proxy.close();
      }
    },
  };
}

/** Learns the longest window of each direction while it only watches; then cuts after frame 1, 2, 3… of one direction, then of the other. */
class CutPlan {
  at = 0;
  length = 1;
  readonly cuts = { 'to-server': 0, 'to-client': 0 };
  #targets: readonly { readonly direction: 'to-server' | 'to-client'; readonly number: number }[] = [];
  readonly #proxy: PostgresProxy;
  readonly #longest = { 'to-server': 0, 'to-client': 0 };

  constructor(proxy: PostgresProxy) {
    this.#proxy = proxy;
    proxy.judge = ({ direction, number }) => {
      this.#longest[direction] = Math.max(this.#longest[direction], number);
      return 'pass';
    };
  }

  get done(): boolean {
    return this.at >= this.length;
  }

  /** Learns anew. */
  forget(): void {
    this.#longest['to-server'] = this.#longest['to-client'] = 0;
  }

  /** No window is that long any more: on to the other direction. */
  passOver(): void {
    const direction = this.#targets[this.at]?.direction;
    while (this.#targets[this.at] !== undefined && this.#targets[this.at]!.direction === direction) this.at++;
  }

  begin(): void {
    const targets = (['to-server', 'to-client'] as const).flatMap((direction) =>
      Array.from({ length: this.#longest[direction] }, (_, n) => ({ direction, number: n + 1 })),
    );
    this.#targets = targets;
    this.length = targets.length;
    this.#proxy.judge = ({ direction, number }: JudgedFrame) => {
      const target = targets[this.at];
      if (target === undefined || direction !== target.direction || number !== target.number) return 'pass';
      this.at++;
      this.cuts[direction]++;
      return 'cut-after';
    };
  }
}

const commitReplyLost: Scenario = {
  name: 'commit-reply-lost',
  sentence: 'COMMIT is carried out and its answer never comes: cut off, or in silence; and COMMIT itself is lost on its way',
  share: 2,
  faults: ['answer cut off', 'answer in silence', 'COMMIT lost', 'asked for its status', 'asked the marker row'],
  async run(stage) {
    const proxy = await PostgresProxy.listen(stage.servers.a.port);
    const faults = ['answer cut off', 'COMMIT lost', 'answer cut off', 'COMMIT lost', 'answer in silence'] as const;
    let next = 0;
    let seen = 0;
    proxy.judge = ({ direction, type, text }) => {
      const isAnswer = direction === 'to-client' && type === 'C' && text === 'COMMIT';
      const isCommit = direction === 'to-server' && /^commit\b/i.test(text);
      const fault = faults[next % faults.length]!;
      if (fault === 'COMMIT lost' ? !isCommit : !isAnswer) return 'pass';
      // Every third one: the others show that life goes on in between.
      if (seen++ % 3 !== 0) return 'pass';
      next++;
      stage.fault(fault);
      return fault === 'answer in silence' ? 'silence' : 'cut-before';
    };
    try {
      await stage.spawn('consumer');
      await stage.spawn('relay');
      await stage.spawn('app', { databasePort: proxy.port });
      stage.allow(1);
      await stage.reaches('all transfers are made', ({ made }) => made >= stage.transfers, 120_000);
      proxy.judge = () => 'pass';
      await stage.rest();
      stage.fault('asked for its status', stage.counts.get('asked for its status') ?? 0);
      stage.fault('asked the marker row', stage.counts.get('asked the marker row') ?? 0);
    } finally {
      await proxy.close();
    }
  },
};

const lateCommit: Scenario = {
  name: 'late-commit',
  sentence: 'a transaction stays open while later ones are committed and relayed; then it commits too',
  share: 1,
  faults: ['committed late'],
  async run(stage) {
    const { app } = await stage.spawnAll();
    for (const holdMs of stage.options.full ? [2000, 60_000] : [1000, 2000]) {
      app.arm({ step: 'before-commit' });
      const { made } = await stage.progress();
      stage.allow((stage.allowed + stage.transfers * 0.4) / stage.transfers);
      const held = await stage.arrived(app, 'before-commit');
      if (held === undefined) return;
      // Later numbers are made and gone while this one, which came first, is invisible.
      await stage.reaches('later messages have left', (now) => now.made > made + 5 && now.open === 0);
      await sleep(holdMs);
      app.go();
      stage.fault('committed late');
    }
  },
};

const contention: Scenario = {
  name: 'contention',
  sentence:
    'transactions get in each other’s way: deadlocks, changed rows under a snapshot, locks and statements that take too long; the whole transaction is made again',
  share: 2,
  faults: Object.keys(GIVES_WAY),
  async run(stage) {
    stage.contention = true;
    await stage.spawnAll();
    stage.allow(1);
    const limitMs = stage.options.defect === undefined ? 120_000 : 10_000;
    await stage.reaches('all transfers are made', ({ made }) => made >= stage.transfers, limitMs);
    for (const way of Object.keys(GIVES_WAY)) stage.fault(way, stage.counts.get(`gave way: ${way}`) ?? 0);
  },
};

const migrateLive: Scenario = {
  name: 'migrate-live',
  sentence: 'the tables go from version 1 to the newest while old writers and relays are at work, and new ones join them',
  share: 2,
  faults: ['migrated under load', 'old and new side by side'],
  schemaVersion: 1,
  async run(stage) {
    await stage.spawn('consumer');
    const oldRelay = await stage.spawn('relay', { old: true });
    const oldApp = await stage.spawn('app', { old: true, parity: 1 });
    stage.allow(0.3);
    await stage.reaches('the old version is at work', ({ effects }) => effects > 0);
    stage.allow(0.5);
    const { from, to } = await stage.migrateA();
    if (from === 1 && to > 1) stage.fault('migrated under load');
    await stage.spawn('relay');
    await stage.spawn('app', { parity: 0 });
    const { made } = await stage.progress();
    stage.allow(0.8);
    if (await stage.reaches('both make transfers', (now) => now.made > made + 4)) stage.fault('old and new side by side');
    await oldRelay.stop();
    await oldApp.stop();
    await stage.spawn('app', { parity: 1 });
  },
};

export const databaseScenarios: readonly Scenario[] = [
  databaseRestart,
  cutScenario('app', /^\s*begin\b/i, 'BEGIN…COMMIT'),
  cutScenario('relay', /delete from "?tallystick_outbox\b/i, 'the settling statement'),
  cutScenario('consumer', /^\s*begin\b/i, 'BEGIN…COMMIT'),
  commitReplyLost,
  lateCommit,
  contention,
  migrateLive,
];
