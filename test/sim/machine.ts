/**
 * The broker's machine: one disk, and one server process after another on it. It starts, stops, kills, cuts power and starts
 * again, each at moments the plan's chance decides: a crash is armed for the n-th disk call from now and strikes within that call.
 *
 *   down       nothing runs; a start is due unless the world is ending
 *   starting   recovering
 *   up         serving
 *   stopping   told to stop in order
 *   failed     says that it will never acknowledge again; its host kills it soon
 *   refused    the store would not open; for good, but one more start after a power cut sees that it still will not
 */
import type { Disk } from '@tallystick/base';
import type { Coverage, Sometimes } from './coverage.ts';
import type { Defect } from './defect.ts';
import { SimDisk, type DiskCall, type DiskFate } from './disk.ts';
import type { Plan } from './plan.ts';
import type { Prng } from './prng.ts';
import type { SimProcess, World } from './world.ts';

/** What a start that came to an end reports. */
export interface Started {
  /** Why it did not come up; `refused` for what only an operator may overrule. */
  readonly error?: { readonly refused: boolean; readonly message: string } | undefined;
}

/** One process' program on the machine. */
export interface Server {
  start(done: (started: Started) => void): void;
  stop(done: () => void): void;
}

/** Makes the program; `failed` is how it says that it will never acknowledge again. */
export type Boot = (owner: SimProcess, disk: Disk, failed: (reason: string) => void) => Server;

export interface MachineListener {
  /** The server is up; with the times at which the power was cut, or else its process killed, since it was last up. */
  up(cutAtMs: number | undefined, killedAtMs: number | undefined): void;
  /** It died, was cut off or stopped. */
  down(): void;
  /** A store that had refused to open has opened. */
  openedAfterRefusal(): void;
}

export class Machine {
  readonly disk: SimDisk;
  state: 'down' | 'starting' | 'up' | 'stopping' | 'failed' | 'refused' = 'down';
  server: Server | undefined;
  refusal: string | undefined;
  crashes = 0;
  powerCuts = 0;
  /** Times that it came up after a power cut, and after any crash since. */
  upsAfterCut = 0;
  /** Flips done since the store was last found sound. */
  rotted: { readonly path: string; readonly mayRefuse: boolean }[] = [];
  /** A disk error was injected into this store: refusing to start is allowed from then on. */
  errorInjected = false;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #random: Prng;
  readonly #coverage: Coverage;
  readonly #boot: Boot;
  readonly #defect: Defect | undefined;
  readonly #listener: MachineListener;
  #owner: SimProcess | undefined;
  #cutAtMs: number | undefined;
  #killedAtMs: number | undefined;
  #failedAtMs: number | undefined;
  #armed: { callsLeft: number; power: boolean } | undefined;
  #failCall: { kind: DiskCall['kind']; prepared: boolean; code: string; left: number } | undefined;
  #healed = false;

  constructor(world: World, plan: Plan, coverage: Coverage, listener: MachineListener, boot: Boot, defect?: Defect) {
    this.#world = world;
    this.#plan = plan;
    this.#random = world.random.fork();
    this.#coverage = coverage;
    this.#listener = listener;
    this.#boot = boot;
    this.#defect = defect;
    this.disk = new SimDisk(world, { slowness: plan.diskSlowness, writeBack: plan.writeBack });
    this.disk.writesThrough = plan.writesThrough;
    this.disk.allocates = plan.allocates;
    this.disk.onCall = (call) => this.#onCall(call);
  }

  start(): void {
    if (this.state !== 'down') return;
    const owner = this.#world.process('broker');
    this.#owner = owner;
    this.state = 'starting';
    // A power cut between finding rot and noting it may hide the rot for good: one disk cannot tell, so it is not asked to.
    if (!this.#healed && this.rotted.length === 0 && this.#random.chance(this.#plan.crashInRecovery)) this.armCrash(30);
    this.#defect?.beforeStart?.(this.disk);
    const mounted = this.disk.mount(owner);
    const port = this.#defect?.disk?.(mounted, () => this.state === 'starting') ?? mounted;
    const server = this.#boot(owner, port, (reason) => this.#failed(owner, reason));
    this.server = server;
    server.start((started) => {
      if (!owner.alive) return;
      if (started.error !== undefined) return this.#notStarted(started.error);
      this.state = 'up';
      this.#world.trace('broker is up');
      if (this.refusal !== undefined) this.#listener.openedAfterRefusal();
      const cutAtMs = this.#cutAtMs;
      const killedAtMs = this.#killedAtMs;
      this.#cutAtMs = undefined;
      this.#killedAtMs = undefined;
      this.#failedAtMs = undefined;
      if (this.powerCuts > 0) this.upsAfterCut++;
      if (this.rotted.length > 0) this.#coverage.hit('rot harmless');
      this.#listener.up(cutAtMs, killedAtMs);
    });
  }

  /** Crashes within one of the next `callsMax` disk calls. */
  armCrash(callsMax: number): void {
    this.#armed = { callsLeft: this.#random.between(0, callsMax), power: this.#random.chance(this.#plan.powerCuts) };
  }

  /** Fails one call with an errno: of this kind, in files being prepared or not. */
  armFailure(kind: DiskCall['kind'], prepared: boolean, code: string): void {
    this.#failCall = { kind, prepared, code, left: this.#random.between(0, 5) };
  }

  stop(): void {
    if (this.state !== 'up') return;
    const { server } = this;
    const owner = this.#owner as SimProcess;
    this.state = 'stopping';
    server?.stop(() => {
      if (!owner.alive) return;
      owner.kill();
      this.#wentDown();
    });
  }

  /** SIGKILL now, or the plug pulled. */
  crash(power: boolean): void {
    this.#armed = undefined;
    const owner = this.#owner;
    if (owner?.alive !== true) return;
    this.crashes++;
    owner.kill();
    // Rot in the last synced group, then a power cut before any start has read it, looks exactly like a torn write: the one risk of a
    // single disk that is stated instead of tested. Once a start has judged the rot, the plug may be pulled again.
    this.#killedAtMs ??= this.#failedAtMs ?? this.#world.timeMs;
    const isUnjudged = this.refusal === undefined && this.rotted.some((flip) => flip.mayRefuse);
    if (power && !isUnjudged) {
      this.powerCuts++;
      // What the first process to die (or to fail: after that nothing is acknowledged) left unsynced stays so until another one is up.
      this.#cutAtMs ??= this.#killedAtMs;
      this.disk.powerCut();
    }
    this.#wentDown();
  }

  /** No faults from now on. */
  heal(): void {
    this.#healed = true;
    this.#armed = undefined;
    this.#failCall = undefined;
    this.disk.full = false;
    this.disk.syncStallMs = 0;
  }

  #notStarted(error: { refused: boolean; message: string }): void {
    this.#world.trace(`broker did not start: ${error.message}`);
    (this.#owner as SimProcess).kill();
    if (!error.refused) return this.#wentDown();
    if (this.errorInjected && this.disk.has(FAILED_MARKER)) {
      // The operator has looked at the disk and allows another start.
      this.disk.erase(FAILED_MARKER);
      this.#coverage.hit('failed sync cleared');
      return this.#wentDown();
    }
    const before = this.refusal;
    this.refusal = error.message;
    this.state = 'refused';
    this.#listener.down();
    if (before !== undefined) {
      this.#coverage.hit('refused again after a power cut');
      return;
    }
    this.powerCuts++;
    this.disk.powerCut(1);
    this.state = 'down';
    this.start();
  }

  #failed(owner: SimProcess, reason: string): void {
    if (!owner.alive) return;
    this.#world.trace(`broker failed: ${reason}`);
    this.state = 'failed';
    this.#failedAtMs ??= this.#world.timeMs;
    this.#world.after(this.#random.below(20), () => {
      if (owner.alive) this.crash(false);
    });
  }

  #wentDown(): void {
    this.state = 'down';
    this.server = undefined;
    this.#listener.down();
  }

  #onCall(call: DiskCall): DiskFate {
    if (this.#armed !== undefined && this.#armed.callsLeft-- <= 0) {
      const { power } = this.#armed;
      const owner = this.#owner as SimProcess;
      const during = this.state === 'starting' ? 'recovery' : classOf(call);
      this.#armed = undefined;
      this.#world.after(call.latencyMs * this.#random.unit(), () => {
        if (!owner.alive) return;
        this.#coverage.hit(`${power ? 'power cut' : 'kill'} during ${during}` as Sometimes);
        this.#world.trace(`${power ? 'power cut' : 'kill'} during ${during}: ${call.kind} ${call.path}`);
        this.crash(power);
      });
      return undefined;
    }
    const fail = this.#failCall;
    if (
      fail !== undefined &&
      isOf(call, fail.kind) &&
      fail.prepared === isPrepared(call.path) &&
      fail.left-- <= 0 &&
      this.state === 'up'
    ) {
      this.#failCall = undefined;
      if (fail.code !== 'ENOSPC' || !fail.prepared) this.errorInjected = true;
      this.#coverage.hit(fail.code === 'ENOSPC' ? 'disk full met' : fail.kind === 'sync' ? 'sync failed' : 'write failed');
      return fail.code;
    }
    if (this.disk.full && (call.kind === 'create' || isOf(call, 'write'))) this.#coverage.hit('disk full met');
    return undefined;
  }
}

/** The store leaves it after a failed write or sync. */
const FAILED_MARKER = 'FSYNC_FAILED';

/** Is this a file that is not in service yet: a segment or snapshot under its temporary name? */
function isPrepared(path: string): boolean {
  return !/^log\/\d{20}$/.test(path);
}

/** A write through is a write and a sync. */
function isOf({ kind }: DiskCall, wanted: DiskCall['kind']): boolean {
  return kind === wanted || (kind === 'write-through' && (wanted === 'write' || wanted === 'sync'));
}

/** What the store is doing when it makes this call. */
export function classOf(call: {
  readonly kind: string;
  readonly path: string;
}): 'write' | 'write-through' | 'sync' | 'roll' | 'snapshot' | 'checkpoint' {
  if (/^log\/\d{20}$/.test(call.path)) {
    if (call.kind === 'write' || call.kind === 'read') return 'write';
    return call.kind === 'write-through' || call.kind === 'sync' ? call.kind : 'roll';
  }
  if (/snap/.test(call.path)) return 'snapshot';
  if (/checkpoint/.test(call.path)) return 'checkpoint';
  return 'roll';
}
