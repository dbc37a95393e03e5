/**
 * One schedule: a seed, a plan, the shipped broker and clients in a simulated world, and the verdict.
 *
 *   chaos    actors work, the machine crashes, the network misbehaves, as the plan says
 *   rest     faults off; within bounded simulated time every answer is in, every half settled, every message consumed
 *   reread   everything is read, the machine crashes once more, everything is read again, and the ledger settles
 */
import { Ledger, type QueueRead, type Violation } from '../checkers/ledger.ts';
import { brokerPlay } from './broker-play.ts';
import { Coverage } from './coverage.ts';
import type { Defect } from './defect.ts';
import { withoutTheRealWorld } from './forbid.ts';
import { frameJudge } from './frames.ts';
import { Machine } from './machine.ts';
import { SimNetwork } from './network.ts';
import { drawPlan, killWindowMs, type Plan } from './plan.ts';
import type { Play, PlayServer } from './play.ts';
import { plantRot } from './rot.ts';
import { resetIds, type Stage } from './stage.ts';
import { storePlay } from './store-play.ts';
import { World } from './world.ts';

export interface Outcome {
  readonly seed: number;
  readonly plan: Plan;
  readonly violations: readonly Violation[];
  readonly traceHash: number;
  readonly steps: number;
  readonly simulatedMs: number;
  readonly coverage: Coverage;
  readonly messages: number;
  readonly crashes: number;
  readonly refused: boolean;
}

export interface ScheduleOptions {
  readonly defect?: Defect | undefined;
  readonly trace?: ((line: string) => void) | undefined;
  readonly plan?: Partial<Plan> | undefined;
}

/** Bounds of the phases after the chaos, in simulated ms. */
const REST_MS = 120_000;
const REREAD_MS = 30_000;
/** How long everything gets to reach the disk. */
const SETTLE_MS = 300;
/** How often one looks whether all is consumed, and every how many times at the dead letters. */
const ROUND_MS = 30;
const DEAD_LETTER_ROUNDS = 10;

export function runSchedule(seed: number, options: ScheduleOptions = {}): Outcome {
  return withoutTheRealWorld(() => {
    const restore = options.defect?.plant?.();
    try {
      return new Schedule(drawPlan(seed, { ...options.defect?.plan, ...options.plan }), options).run();
    } finally {
      restore?.();
    }
  });
}

class Schedule {
  readonly #plan: Plan;
  readonly #world: World;
  readonly #stage: Stage;
  readonly #machine: Machine;
  readonly #play: Play;
  readonly #ledger = new Ledger();
  readonly #coverage = new Coverage();
  /** How long a stalled sync takes in this schedule; 0 when none stalls. */
  #syncStallMs = 0;
  #server: PlayServer | undefined;
  /** What the wall clock showed before it was set back. */
  #latestWallMs = 0;
  #isOpen = false;

  constructor(plan: Plan, options: ScheduleOptions) {
    this.#plan = plan;
    resetIds();
    const world = new World(plan.seed);
    world.onTrace = options.trace;
    this.#world = world;
    const network = new SimNetwork(world, plan.network);
    this.#stage = {
      world,
      network,
      plan,
      ledger: this.#ledger,
      coverage: this.#coverage,
      chaos: true,
      cuts: [],
      orderlyDone: new Map(),
      groups: [],
    };
    network.judge = frameJudge(this.#stage);
    const listener = {
      up: (cutAtMs: number | undefined, killedAtMs: number | undefined) => this.#up(cutAtMs, killedAtMs),
      down: () => this.#down(),
      openedAfterRefusal: () =>
        this.#ledger.violate('refusal-is-sticky', 'the store opened after a power cut although it had refused to open before'),
    };
    this.#machine = new Machine(
      world,
      plan,
      this.#coverage,
      listener,
      (owner, disk, failed) => (this.#server = this.#play.boot(owner, disk, failed)),
      options.defect,
    );
    this.#play = (plan.play === 'store' ? storePlay : brokerPlay)(this.#stage);
  }

  run(): Outcome {
    try {
      this.#chaos();
      if (this.#rest()) this.#reread();
    } catch (thrown) {
      this.#ledger.violate('no-exception', thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
    }
    this.#coverage.hit('connection cut', this.#stage.network.cuts);
    this.#coverage.hit('connection half open', this.#stage.network.halfOpenCuts);
    this.#coverage.hit(
      'segment rolled',
      this.#machine.disk
        .files()
        .some((path) => /^log\/\d{20}$/.test(path) && Number(path.slice(4)) >= 2 * this.#plan.segmentBytes)
        ? 1
        : 0,
    );
    return {
      seed: this.#plan.seed,
      plan: this.#plan,
      violations: this.#ledger.violations,
      traceHash: this.#world.traceHash,
      steps: this.#world.steps,
      simulatedMs: this.#world.timeMs,
      coverage: this.#coverage,
      messages: this.#ledger.intents.size,
      crashes: this.#machine.crashes,
      refused: this.#machine.state === 'refused',
    };
  }

  #chaos(): void {
    const plan = this.#plan;
    const { random } = this.#world;
    const within = (run: () => void): void => void this.#world.after(random.unit() * plan.chaosMs, run);
    this.#machine.start();
    this.#play.open(() => {
      this.#isOpen = true;
      for (const actor of this.#play.actors) actor.begin();
    });
    for (let n = 0; n < plan.crashes; n++)
      within(() => (random.chance(plan.orderlyStop) ? this.#machine.stop() : this.#machine.armCrash(12)));
    for (let n = 0; n < plan.clientKills; n++) within(() => this.#killAClient());
    for (let n = 0; n < plan.wallJumps; n++) within(() => this.#jumpClock());
    if (plan.trouble !== 'none') within(() => this.#makeTrouble());
    if (plan.rot !== 'none') within(() => this.#rot());
    this.#world.runUntil(() => this.#machine.state === 'refused', plan.chaosMs);
  }

  /** Everything has to come to rest once faults are off. False when there is nothing to read. */
  #rest(): boolean {
    this.#stage.chaos = false;
    this.#stage.network.heal();
    this.#machine.heal();
    // What lies in a pool is acknowledged and still on its way to the disk, where it may fail.
    if (this.#plan.pooled) this.#world.runFor(SETTLE_MS);
    if (this.#machine.state === 'refused') return this.#judgeRefusal();
    if (this.#machine.state === 'down') this.#machine.start();
    const { actors } = this.#play;
    const rested = this.#world.runUntil(
      () =>
        this.#machine.state === 'refused' ||
        (this.#machine.state === 'up' && this.#isOpen && actors.every((actor) => actor.atRest()) && this.#openHalves() === 0),
      REST_MS,
    );
    if ((this.#machine.state as string) === 'refused') return this.#judgeRefusal();
    if (!rested) {
      const waiting = actors
        .filter((actor) => !actor.atRest())
        .map((actor) => `${actor.name}: ${actor.waitsFor?.() ?? 'not at rest'}`);
      this.#ledger.violate(
        'comes-to-rest',
        `${REST_MS} ms after the last fault the broker is ${this.#machine.state}, ${this.#openHalves()} halves are open; ${waiting.join('; ')}`,
      );
      return false;
    }
    return true;
  }

  #reread(): void {
    const first = this.#readAll();
    if (first === undefined) return;
    // A consumer that has read beyond what an async broker still has after a power cut is sent back by the process that came up then;
    // if it comes back to a later one, it may pass over what is new.
    const isAhead = this.#plan.flush === 'async' && this.#machine.upsAfterCut > 1;
    // And what is deleted before a slow consumer comes is not consumed.
    if (!isAhead && this.#plan.storeMaxBytes === 0) for (const group of this.#play.groups) this.#awaitConsumption(group, first);
    for (const read of first) for (const sight of read.records) this.#ledger.saw(sight, 'the first full read');
    this.#machine.crash(this.#plan.flush === 'sync' && this.#world.random.chance(0.5));
    // A confirmation that was on its way to the disk may be gone: its half is open again and is asked about again.
    this.#world.runUntil(
      () => (this.#machine.state === 'up' && this.#openHalves() === 0) || this.#machine.state === 'refused',
      REST_MS,
    );
    if (this.#machine.state === 'refused') return void this.#judgeRefusal();
    this.#world.runFor(SETTLE_MS);
    const second = this.#readAll();
    if (second === undefined) return;
    this.#coverage.hit('old segments deleted', second.filter((read) => read.minOffset > 0).length);
    this.#ledger.settle(second);
    this.#ledger.settleGroups(this.#stage.groups, second);
  }

  /** Every message has been handled with success or lies among the dead letters. */
  #awaitConsumption(group: string, reads: readonly QueueRead[]): void {
    let missing = reads.flatMap((read) => read.records.map(({ id }) => id));
    const isDone = (): boolean => (missing = missing.filter((id) => this.#ledger.timesConsumed(group, id) === 0)).length === 0;
    for (let round = 1; !isDone() && round * ROUND_MS < REST_MS; round++) {
      this.#world.runFor(ROUND_MS);
      if (round % DEAD_LETTER_ROUNDS !== 0 || isDone()) continue;
      this.#play.deadLetters(group, (ids) => {
        this.#coverage.hit('dead letter', ids.length);
        for (const id of ids) this.#ledger.consumed(group, id);
      });
    }
    if (missing.length > 0) this.#ledger.settleConsumption(group, reads);
  }

  #readAll(): QueueRead[] | undefined {
    let reads: QueueRead[] | undefined;
    this.#play.readAll((found) => (reads = found));
    this.#world.runUntil(() => reads !== undefined, REREAD_MS);
    if (reads !== undefined && reads.length === this.#plan.queues) return reads;
    const { rotted } = this.#machine;
    if (rotted.some((flip) => flip.mayRefuse)) this.#coverage.hit('rot refused');
    else this.#ledger.violate('can-be-read', `only ${reads?.length ?? 0} of ${this.#plan.queues} queues could be read`);
    return undefined;
  }

  /** A store that will not open is right only if something was done to it. */
  #judgeRefusal(): false {
    const { rotted, errorInjected, refusal } = this.#machine;
    const mayRefuse = errorInjected || rotted.some((flip) => flip.mayRefuse);
    if (mayRefuse) this.#coverage.hit('rot refused');
    else this.#ledger.violate('opens-after-any-crash', `refused without cause: ${refusal}`);
    return false;
  }

  #up(cutAtMs: number | undefined, killedAtMs: number | undefined): void {
    const server = this.#server as PlayServer;
    server.noteRecovery(this.#coverage);
    if (this.#plan.flush === 'sync') return;
    if (cutAtMs === undefined) {
      if (!this.#plan.pooled || killedAtMs === undefined) return;
      const safeBeforeMs = killedAtMs - killWindowMs(this.#plan) - 2 * this.#syncStallMs;
      return this.#coverage.hit('buffered suffix lost', this.#ledger.afterKill(server.queueEnds(), safeBeforeMs));
    }
    const ends = server.queueEnds();
    this.#stage.cuts.push({ wallMs: Math.max(this.#latestWallMs, this.#world.clock.now()), ends });
    // A stalled sync widens the window: the one under way and the next one may both take that much longer.
    const lost = this.#ledger.afterPowerCut(ends, cutAtMs - server.lossWindowMs - 2 * this.#syncStallMs);
    this.#coverage.hit('async suffix lost', lost);
  }

  #down(): void {
    if (this.#machine.state === 'refused') return;
    this.#world.after(this.#world.random.between(1, 60), () => this.#machine.start());
  }

  #openHalves(): number {
    return this.#server?.openHalves() ?? 0;
  }

  #killAClient(): void {
    const actors = this.#play.actors.filter((actor) => actor.restart !== undefined);
    if (actors.length === 0 || !this.#isOpen) return;
    this.#coverage.hit('client killed');
    this.#world.random.pick(actors).restart?.();
  }

  #jumpClock(): void {
    this.#latestWallMs = Math.max(this.#latestWallMs, this.#world.clock.now());
    this.#coverage.hit('wall clock jumped');
    this.#world.jumpWallClock(this.#world.random.pick([-2000, -300, 300, 60_000]));
  }

  #makeTrouble(): void {
    switch (this.#plan.trouble) {
      case 'full':
        this.#machine.disk.full = true;
        this.#world.after(this.#world.random.between(20, 300), () => (this.#machine.disk.full = false));
        return;
      case 'slow-sync':
        this.#syncStallMs = this.#machine.disk.syncStallMs = this.#world.random.between(50, 300);
        this.#world.after(this.#world.random.between(100, 400), () => (this.#machine.disk.syncStallMs = 0));
        return this.#coverage.hit('sync stalled');
      case 'write-fails':
        return this.#machine.armFailure('write', false, this.#world.random.pick(['EIO', 'ENOSPC']));
      case 'sync-fails':
        return this.#machine.armFailure('sync', false, 'EIO');
      case 'prepare-fails':
        return this.#machine.armFailure(this.#world.random.pick(['write', 'create'] as const), true, 'ENOSPC');
      case 'none':
    }
  }

  #rot(): void {
    if (this.#machine.state !== 'up') return;
    this.#machine.crash(false);
    plantRot(this.#machine, this.#plan, this.#world.random);
  }
}
