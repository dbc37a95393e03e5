/**
 * `tallystick demo bank`: starts the broker, both banks and the checker, lets the planned faults happen, waits until everything has come to rest, and says what is
 * true then. It decides nothing about money: the checker's account, the store and the fault log make the report, and the report makes the exit code.
 *
 * phases: starting → running (transfers and faults) → at rest, or stuck (nothing moves any more), or hopeless (a child cannot be started), or interrupted
 * (Ctrl-C) → reading back → stopped.
 */
import { writeFileSync } from 'node:fs';
import { CliError, exitCodes } from '../cli-error.ts';
import type { ToParent } from './child.ts';
import type { ChildOptions } from './child-options.ts';
import type { FinalAccount, RunningAccount } from './checker.ts';
import { Director, type ReachedStep } from './director.ts';
import { FaultLog, readFaultLog, type Observation } from './fault-log.ts';
import { faultScripts } from './fault-scripts.ts';
import { faultRow } from './faults.ts';
import { DemoFolder } from './folder.ts';
import { freePort } from './free-port.ts';
import { transferTopic, confirmationTopic, deadLetterTopic } from './messages.ts';
import { invariantTable, type InvariantName, type Violation } from './invariants.ts';
import { startPerson, type Person } from './person.ts';
import { pathOf, plannedFaults, type PlanOptions } from './plan.ts';
import { ProxyTaps } from './proxy-taps.ts';
import { reportOf, unconfirmedFaults, type Report, type StoreReading } from './report.ts';
import { StoreReader } from './store-reader.ts';
import { Supervisor } from './supervisor.ts';
import { money, noView, viewOn, type View } from './view.ts';

export interface DemoOptions {
  readonly plan: PlanOptions;
  /** Absolute path of the folder for this run. */
  readonly data: string;
  readonly json: boolean;
  /** The broker's disk forgets at a kill what was not synced. */
  readonly loseUnsynced: boolean;
}

type Ending = { readonly kind: 'at-rest' | 'interrupted' } | { readonly kind: 'hopeless' | 'stuck'; readonly why: string };

const queues = 4;
/** All transfers start within about so long, so that there is something to see and faults meet a running system. */
const spreadMs = 12_000;
const paceMsMax = 30;
/** Nothing settled, started or was confirmed for so long: the run has come to rest without being complete. */
const stuckMs = 45_000;
const stuckWithDefectMs = 7_000;
const readBackLimitMs = 60_000;
/** Short for a demo; the broker's own defaults are minutes. */
const brokerTimes = {
  checkAfterMs: 600,
  checkIntervalMs: 400,
  checkMax: 40,
  delayLevelsMs: '100,200,300,400,500,600,700,800',
};

/** Runs the demo and gives the exit code. */
export async function runBankDemo(options: DemoOptions): Promise<number> {
  const demo = new BankDemo(options);
  try {
    return await demo.run();
  } finally {
    demo.leave();
  }
}

class BankDemo {
  private readonly options: DemoOptions;
  private readonly folder: DemoFolder;
  private readonly log: FaultLog;
  private readonly supervisor: Supervisor;
  private readonly view: View;
  private readonly startedAt = performance.now();
  private director!: Director;
  private bankA!: ProxyTaps;
  private bankB!: ProxyTaps;
  private store!: StoreReader;
  private person: Person | undefined;
  private brokerPort = 0;
  private end: (ending: Ending) => void = () => {};
  private ending: Promise<Ending>;
  private latest: RunningAccount | undefined;
  private lastProgress = performance.now();
  private lastShape = '';
  private readonly broken = new Set<InvariantName>();
  private onStanding: () => void = () => {};
  private readonly answers = new Map<number, (answer: unknown) => void>();
  private nextQuestion = 1;
  private childOptions: (name: string) => string = () => '';

  constructor(options: DemoOptions) {
    this.options = options;
    this.folder = new DemoFolder(options.data);
    this.folder.take({ ...options.plan });
    this.log = new FaultLog(this.folder.faultLog);
    const { transfers, seed, path, defect } = options.plan;
    const title = `tallystick demo bank   seed ${seed}, ${transfers} transfers, path ${path}${defect === undefined ? '' : `, defect ${defect}`}`;
    const faults = [...new Set(plannedFaults(options.plan).map(({ name }) => name))];
    this.view = options.json ? noView : viewOn({ out: process.stdout, transfers, title, faults });
    this.ending = new Promise((resolve) => (this.end = resolve));
    this.supervisor = new Supervisor(this.folder, this.log, {
      message: (name, message) => this.receive(name, message),
      gone: (name) => this.director.gone(name),
      hopeless: (name, why) => this.end({ kind: 'hopeless', why: `${name} cannot be started: ${why}` }),
    });
  }

  async run(): Promise<number> {
    const interrupt = () => this.end({ kind: 'interrupted' });
    process.on('SIGINT', interrupt);
    process.on('SIGTERM', interrupt);
    this.log.listen((seen) => this.show(seen));
    const started = this.start();
    const ending = await Promise.race([this.ending, started.then(() => this.ending)]);
    const report = await this.readBack(ending);
    this.view.end();
    return this.tell(ending, report);
  }

  /** Nothing of ours survives the parent, however it ends. */
  leave(): void {
    this.view.end();
    this.supervisor.killAll();
    this.folder.leave();
  }

  private async start(): Promise<void> {
    const { plan, loseUnsynced } = this.options;
    this.brokerPort = await freePort();
    this.bankA = new ProxyTaps(this.brokerPort, this.log);
    this.bankB = new ProxyTaps(this.brokerPort, this.log);
    const ports = { a: await this.bankA.proxy.listen(), b: await this.bankB.proxy.listen() };
    const paceMs = Math.min(paceMsMax, spreadMs / plan.transfers);
    this.childOptions = (name) => {
      const brokerPort = name === 'checker' ? 0 : name === 'bank-b' ? ports.b : ports.a;
      const options: ChildOptions = { plan, bankA: this.folder.bankA, bankB: this.folder.bankB, brokerPort, paceMs };
      return JSON.stringify(options);
    };
    this.director = new Director(plannedFaults(plan), this.scripts(), (number) => pathOf(plan, number), this.log);
    this.director.onWatchesChanged = () => this.sendWatches(['bank-a', 'bank-b']);
    const brokerReady = this.log.next((seen) => seen.what === 'ready' && seen.name === 'broker', 60_000);
    this.supervisor.start({ name: 'broker', args: this.brokerArgs(loseUnsynced), readyLine: /"event":"ready"/ });
    this.supervisor.start({ name: 'checker', args: ['demo-checker', this.childOptions('checker')] });
    if ((await brokerReady) === undefined)
      throw new CliError('the broker did not become ready', `see ${this.folder.logs}`, 'internal');
    this.store = new StoreReader(this.brokerPort);
    await this.store.makeTopics([transferTopic, confirmationTopic], queues);
    this.person = await startPerson(this.store.client, this.log);
    this.supervisor.start({ name: 'bank-b', args: ['demo-bank-b', this.childOptions('bank-b')] });
    this.supervisor.start({ name: 'bank-a', args: ['demo-bank-a', this.childOptions('bank-a')] });
    this.watchProgress();
  }

  private brokerArgs(loseUnsynced: boolean): string[] {
    const { checkAfterMs, checkIntervalMs, checkMax, delayLevelsMs } = brokerTimes;
    const args = ['broker', '--json', '--port', String(this.brokerPort), '--data', this.folder.broker];
    args.push(
      '--check-after',
      String(checkAfterMs),
      '--check-interval',
      String(checkIntervalMs),
      '--check-max',
      String(checkMax),
    );
    args.push('--delay-levels', delayLevelsMs);
    if (loseUnsynced) args.push('--lose-unsynced');
    if (this.options.plan.defect === 'ack-before-sync') args.push('--ack-before-sync');
    return args;
  }

  private scripts() {
    return faultScripts({
      supervisor: this.supervisor,
      log: this.log,
      bankA: this.bankA,
      bankB: this.bankB,
      defect: this.options.plan.defect,
      startStandby: () =>
        this.supervisor.start({ name: 'bank-a-standby', args: ['demo-bank-a-standby', this.childOptions('bank-a')] }),
      stopStandby: () => this.supervisor.retire('bank-a-standby'),
      onStanding: (run) => (this.onStanding = run),
    });
  }

  private receive(name: string, message: ToParent): void {
    switch (message.type) {
      case 'ready':
        this.sendWatches([name]);
        break;
      case 'step':
        this.director.reached(this.reachedStep(name, message));
        break;
      case 'standing':
        this.onStanding();
        break;
      case 'note':
        this.view.event(message.text);
        break;
      case 'reading':
        this.account(message.reading as RunningAccount);
        break;
      case 'answer':
        this.answers.get(message.id)?.(message.answer);
        break;
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
    for (const name of names) this.supervisor.send(name, { type: 'watch', steps: this.director.watches() });
  }

  private account(account: RunningAccount): void {
    this.latest = account;
    this.view.account(account);
    const shape = JSON.stringify(account.figures);
    if (shape !== this.lastShape) this.lastProgress = performance.now();
    this.lastShape = shape;
    for (const violation of account.violations) this.violated(violation);
  }

  /** A violation does not end the run: what it leads to is read back at rest, like everything else. */
  private violated(violation: Violation): void {
    if (this.broken.has(violation.invariant)) return;
    this.broken.add(violation.invariant);
    this.log.add({ what: 'violation', ...violation });
    this.view.event(`VIOLATED ${violation.invariant}: ${violation.seen}`);
  }

  /** Ends the run when everything is done, or when nothing has moved for long. */
  private watchProgress(): void {
    const timer = setInterval(() => void this.look(), 300);
    void this.ending.then(() => clearInterval(timer));
  }

  private async look(): Promise<void> {
    const { plan } = this.options;
    const done = this.latest?.figures.settled === plan.transfers && this.latest.figures.inProcess === 0;
    if (done && this.director.idle && this.poisonMended()) {
      const halves = await this.store.halves();
      if (halves?.length === 0) this.end({ kind: 'at-rest' });
    }
    const limitMs = plan.defect === undefined || !this.director.idle ? stuckMs : stuckWithDefectMs;
    if (performance.now() - this.lastProgress < limitMs) return;
    const outstanding = this.director.outstanding();
    const waitingFor = outstanding.length === 0 ? '' : `, faults that did not come about: ${outstanding.join(', ')}`;
    this.end({ kind: 'stuck', why: `nothing has moved for ${limitMs / 1000} s${waitingFor}` });
  }

  private poisonMended(): boolean {
    return (
      this.person !== undefined &&
      (this.person.mended.size > 0 || !plannedFaults(this.options.plan).some(({ name }) => name === 'poison'))
    );
  }

  /** Stops the banks, reads the store, then lets the checker read both databases once more. */
  private async readBack(ending: Ending): Promise<Report | undefined> {
    this.director?.stop();
    if (ending.kind === 'interrupted' || ending.kind === 'hopeless' || this.person === undefined) {
      this.supervisor.stopRestarting();
      await this.supervisor.stopAll();
      return undefined;
    }
    await this.supervisor.stopAll(['bank-a', 'bank-b', 'bank-a-standby']);
    const store = await this.readStore();
    await Promise.race([this.person.stop(), sleep(3_000)]);
    await this.store.close();
    this.confirmPoison(store);
    const account = await this.finalAccount();
    this.supervisor.stopRestarting();
    await this.supervisor.stopAll();
    await Promise.all([this.bankA.proxy.close(), this.bankB.proxy.close()]);
    const log = readFaultLog(this.folder.faultLog);
    return reportOf(this.options.plan, {
      figures: account.figures,
      duplicatesAbsorbed: account.duplicatesAbsorbed,
      settledSerials: new Set(account.settledSerials),
      serialsOfA: new Set(account.serialsOfA),
      store,
      log,
      violations: account.violations,
      seconds: (performance.now() - this.startedAt) / 1000,
    });
  }

  private async readStore(): Promise<StoreReading> {
    const until = performance.now() + readBackLimitMs;
    while (performance.now() < until) {
      const halves = await this.store.halves();
      const deadLetters = await this.store.serialsIn(deadLetterTopic);
      if (halves !== undefined && deadLetters !== undefined) return { halves, deadLetters };
      await sleep(200);
    }
    throw new CliError('the store could not be read back', `see ${this.folder.logs}/broker.log`, 'internal');
  }

  private confirmPoison({ deadLetters }: StoreReading): void {
    for (const serial of deadLetters) {
      if (!this.person?.mended.has(serial)) continue;
      const seen = `${serial} read from ${deadLetterTopic} and sent again`;
      this.log.add({ what: 'fault-confirmed', fault: 'poison', number: 0, serial, seen });
    }
  }

  /** Asks the checker until it answers: it may be killed as well. */
  private async finalAccount(): Promise<FinalAccount> {
    const until = performance.now() + readBackLimitMs;
    while (performance.now() < until) {
      const answer = await this.ask('checker', 'final', 10_000);
      if (answer !== undefined) return answer as FinalAccount;
      await sleep(200);
    }
    throw new CliError('the checker did not answer', `see ${this.folder.logs}/checker.log`, 'internal');
  }

  private ask(name: string, question: string, limitMs: number): Promise<unknown> {
    const id = this.nextQuestion++;
    return new Promise((resolve) => {
      const end = (answer: unknown) => {
        clearTimeout(timer);
        this.answers.delete(id);
        resolve(answer);
      };
      const timer = setTimeout(() => end(undefined), this.supervisor.isReady(name) ? limitMs : 200);
      this.answers.set(id, end);
      this.supervisor.send(name, { type: 'ask', id, question });
    });
  }

  private show(seen: Observation): void {
    if (seen.what === 'fault-fired') {
      this.view.fault(seen.fault, 'fired');
      this.view.event(`fault ${seen.fault} at transfer ${seen.number}: ${faultRow(seen.fault).sentence}`);
      this.lastProgress = performance.now();
    } else if (seen.what === 'fault-confirmed') {
      this.view.fault(seen.fault, 'confirmed');
      this.view.event(`seen  ${seen.fault}: ${seen.seen}`);
      this.lastProgress = performance.now();
    } else if (seen.what === 'fault-missed') {
      this.view.fault(seen.fault, 'missed');
      this.view.event(`fault ${seen.fault} did not come about (${seen.why}); it is tried again`);
    } else if (seen.what === 'exit') {
      this.view.event(`${seen.name} (${seen.pid}) is gone: ${seen.signal ?? `exit ${seen.code}`}`);
    } else if (seen.what === 'check-back') {
      this.view.event(`the broker asks bank A about ${seen.serial}`);
    } else if (seen.what === 'dead-letter') {
      this.view.fault('poison', 'fired');
      this.view.event(`dead letter ${seen.serial}: a person reads it`);
    } else if (seen.what === 'mended') {
      this.view.fault('poison', 'confirmed');
      this.view.event(`${seen.serial} mended and sent again`);
    }
  }

  /** Prints the outcome; the JSON object is the last line. */
  private tell(ending: Ending, report: Report | undefined): number {
    if (report === undefined) {
      console.error(
        ending.kind === 'interrupted' ? 'stopped; nothing was checked' : `not started: ${'why' in ending ? ending.why : ''}`,
      );
      return ending.kind === 'interrupted' ? exitCodes.interrupted.code : exitCodes.internal.code;
    }
    const missing = unconfirmedFaults(report);
    const held = report.violations.length === 0;
    writeFileSync(this.folder.report, `${JSON.stringify(report)}\n`);
    if (!this.options.json) this.tellPerson(report);
    for (const { invariant, seen } of report.violations)
      console.error(`invariant violated: ${invariant} (${invariantTable[invariant]}): ${seen}`);
    if ('why' in ending) console.error(`ended because ${ending.why}`);
    if (missing.length > 0) console.error(`not seen in this run: ${missing.join(', ')}`);
    if (this.options.json) console.log(JSON.stringify(report));
    return held && missing.length === 0 && ending.kind === 'at-rest' ? exitCodes.ok.code : exitCodes.failed.code;
  }

  private tellPerson(report: Report): void {
    const faults = report.faults.map(({ name, count }) => `${name} ${count}`).join(', ');
    console.log(`
${report.settled} of ${report.transfers} transfers settled in ${report.seconds} s; lost ${report.lost}, effects applied twice ${report.duplicateEffects}
money before ${money(report.moneyBefore)}, after ${money(report.moneyAfter)}
repeated deliveries absorbed ${report.duplicatesAbsorbed}, check-backs ${report.checkBacks}, dead letters mended ${report.deadLettersMended}
faults seen: ${faults}
databases, store and fault log: ${this.folder.path}`);
    if (report.violations.length === 0) console.log('every invariant held');
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
