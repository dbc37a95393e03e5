/**
 * `tallystick demo bank`: starts the broker, both banks and the checker, lets the planned faults happen, waits until everything has come to rest, and says what is
 * true then. It decides nothing about money: the checker's account, the store and the fault log make the report, and the report makes the exit code.
 *
 * phases: starting → running (transfers and faults) → at rest, or stuck (nothing moves any more), or hopeless (a child cannot be started), or interrupted
 * (Ctrl-C) → reading back → stopped.
 */
import { writeFileSync } from 'node:fs';
import { CliError, exitCodes } from '../cli-error.ts';
import { CheckerLine } from './checker-line.ts';
import type { RunningAccount } from './checker.ts';
import type { ToParent } from './child.ts';
import { Children } from './children.ts';
import { Director, type ReachedStep } from './director.ts';
import { FaultLog } from './fault-log.ts';
import { faultScripts } from './fault-scripts.ts';
import { DemoFolder } from './folder.ts';
import { freePort } from './free-port.ts';
import { confirmationTopic, transferTopic } from './messages.ts';
import { startPerson, type Person } from './person.ts';
import { keptBackFrom, pathOf, plannedFaults, type PlanOptions } from './plan.ts';
import { Progress, type Rest } from './progress.ts';
import { ProxyTaps } from './proxy-taps.ts';
import { readBack } from './read-back.ts';
import { StoreReader } from './store-reader.ts';
import { Supervisor } from './supervisor.ts';
import { show, tell } from './tell.ts';
import { noView, viewOn, type View } from './view.ts';

export interface DemoOptions {
  readonly plan: PlanOptions;
  /** Absolute path of the folder for this run. */
  readonly data: string;
  readonly json: boolean;
  /** The broker's disk forgets at a kill what was not synced. */
  readonly loseUnsynced: boolean;
}

type Ending = Rest | { readonly kind: 'interrupted' } | { readonly kind: 'hopeless'; readonly why: string };

const queues = 4;
const lookEveryMs = 300;
/** Long enough for a transfer to reach any step. */
const spareEveryMs = 1_500;
const brokerReadyLimitMs = 60_000;

/** Runs the demo and gives the exit code. Throws a CliError when it could not be begun or read back. */
export async function runBankDemo(options: DemoOptions): Promise<number> {
  const demo = new BankDemo(options);
  try {
    return await demo.run();
  } finally {
    demo.leave();
  }
}

/** What exists once the demo is running. */
interface Stage {
  readonly director: Director;
  readonly store: StoreReader;
  readonly person: Person;
}

class BankDemo {
  private readonly options: DemoOptions;
  private readonly folder: DemoFolder;
  private readonly log: FaultLog;
  private readonly supervisor: Supervisor;
  private readonly checker: CheckerLine;
  private readonly progress: Progress;
  private readonly view: View;
  private readonly startedAt = performance.now();
  private readonly ending: Promise<Ending>;
  private end: (ending: Ending) => void = () => {};
  private director: Director | undefined;

  constructor(options: DemoOptions) {
    this.options = options;
    this.folder = new DemoFolder(options.data);
    this.folder.take({ ...options.plan });
    this.log = new FaultLog(this.folder.faultLog);
    this.view = options.json ? noView : viewFor(options.plan);
    this.ending = new Promise((resolve) => (this.end = resolve));
    this.progress = new Progress(options.plan, this.log);
    this.supervisor = new Supervisor(this.folder, this.log, {
      message: (name, message) => this.receive(name, message),
      gone: (name) => this.director?.gone(name),
      hopeless: (name, why) => this.end({ kind: 'hopeless', why: `${name} cannot be started: ${why}` }),
    });
    this.checker = new CheckerLine(this.supervisor);
  }

  async run(): Promise<number> {
    process.on('SIGINT', () => this.end({ kind: 'interrupted' }));
    process.on('SIGTERM', () => this.end({ kind: 'interrupted' }));
    this.log.listen((seen) => show(this.view, seen));
    const started = this.start();
    const stage = await Promise.race([started, this.ending]);
    const ending = 'kind' in stage ? stage : await this.watch(stage);
    if (ending.kind === 'interrupted' || ending.kind === 'hopeless' || 'kind' in stage) return this.breakOff(ending);
    stage.director.stop();
    const { plan, json } = this.options;
    const { folder, log, supervisor, checker, startedAt } = this;
    const report = await readBack({
      plan,
      folder,
      log,
      supervisor,
      checker,
      startedAt,
      store: stage.store,
      person: stage.person,
    });
    writeFileSync(folder.report, `${JSON.stringify(report)}\n`);
    this.view.end();
    return tell({ report, json, folder: folder.path, stuck: ending.kind === 'stuck' ? ending.why : undefined });
  }

  /** Nothing of ours survives the parent, however it ends. */
  leave(): void {
    this.view.end();
    this.supervisor.killAll();
    this.folder.leave();
  }

  private async start(): Promise<Stage> {
    const { plan, loseUnsynced } = this.options;
    const broker = await freePort();
    const taps = { bankA: new ProxyTaps(broker, this.log), bankB: new ProxyTaps(broker, this.log) };
    const ports = { broker, bankA: await taps.bankA.proxy.listen(), bankB: await taps.bankB.proxy.listen() };
    const children = new Children(plan, this.folder, ports);
    const director = this.direct(children, taps);
    const ready = this.log.next((seen) => seen.what === 'ready' && seen.name === 'broker', brokerReadyLimitMs);
    this.supervisor.start(children.broker(loseUnsynced));
    this.supervisor.start(children.checker());
    if ((await ready) === undefined)
      throw new CliError('the broker did not become ready', `see ${this.folder.logs}/broker.log`, 'internal');
    const store = new StoreReader(broker);
    await store.makeTopics([transferTopic, confirmationTopic], queues);
    const person = await startPerson(store.client, this.log);
    this.supervisor.start(children.bankB());
    this.supervisor.start(children.bankA());
    return { director, store, person };
  }

  private direct(children: Children, taps: { readonly bankA: ProxyTaps; readonly bankB: ProxyTaps }): Director {
    const { plan } = this.options;
    const { supervisor, log } = this;
    const scripts = faultScripts({
      supervisor,
      log,
      ...taps,
      defect: plan.defect,
      startStandby: () => supervisor.start(children.standby()),
      stopStandby: () => supervisor.retire('bank-a-standby'),
    });
    this.director = new Director(plannedFaults(plan), scripts, (number) => pathOf(plan, number), keptBackFrom(plan), log);
    this.director.onWatchesChanged = () => this.sendWatches(['bank-a', 'bank-b']);
    return this.director;
  }

  /** Waits for the end of the run. */
  private async watch({ director, store }: Stage): Promise<Ending> {
    const timer = setInterval(() => {
      void this.progress.look(director, store).then((rest) => {
        if (rest !== undefined) this.end(rest);
      });
    }, lookEveryMs);
    const sparing = setInterval(() => director.spare(), spareEveryMs);
    const ending = await this.ending;
    clearInterval(timer);
    clearInterval(sparing);
    return ending;
  }

  private receive(name: string, message: ToParent): void {
    switch (message.type) {
      case 'ready':
        return this.sendWatches([name]);
      case 'step':
        return this.director?.reached(this.reachedStep(name, message));
      case 'note':
        return this.view.event(message.text);
      case 'disk-forgets':
        return this.log.add({ what: 'disk-forgets' });
      case 'reading':
        this.progress.account(message.reading as RunningAccount);
        return this.view.account(message.reading as RunningAccount);
      case 'answer':
        return this.checker.answered(message.id, message.answer);
    }
  }

  private reachedStep(child: string, message: ToParent & { readonly type: 'step' }): ReachedStep {
    const { id, step, number, serial, place } = message;
    const pid = this.supervisor.pidOf(child);
    let left = false;
    return {
      child,
      id,
      step,
      number,
      serial,
      place,
      leave: (leave) => {
        if (left || this.supervisor.pidOf(child) !== pid) return;
        left = true;
        this.supervisor.send(child, { type: 'leave', id, leave });
      },
    };
  }

  private sendWatches(names: readonly string[]): void {
    const steps = this.director?.watches() ?? [];
    for (const name of names) this.supervisor.send(name, { type: 'watch', steps });
  }

  private async breakOff(ending: Ending): Promise<number> {
    this.supervisor.stopRestarting();
    await this.supervisor.stopAll();
    this.view.end();
    console.error('why' in ending ? `not carried out: ${ending.why}` : 'stopped; nothing was checked');
    return ending.kind === 'interrupted' ? exitCodes.interrupted.code : exitCodes.internal.code;
  }
}

function viewFor(plan: PlanOptions): View {
  const { transfers, seed, path, defect } = plan;
  const title = `tallystick demo bank   seed ${seed}, ${transfers} transfers, path ${path}${defect === undefined ? '' : `, defect ${defect}`}`;
  const faults = [...new Set(plannedFaults(plan).map(({ name }) => name))];
  return viewOn({ out: process.stdout, transfers, title, faults });
}
