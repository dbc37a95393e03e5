/**
 * What one seed decides before its schedule begins. Swarm testing: each rate is drawn anew and is often zero, so that some
 * schedules are calm enough to reach deep states and others are all storm. Sizes are tiny so that edges are met often.
 */
import type { NetworkOptions } from './network.ts';
import { Prng } from './prng.ts';

export type DiskTrouble = 'none' | 'full' | 'slow-sync' | 'write-fails' | 'sync-fails' | 'prepare-fails';
export type Rot = 'none' | 'log' | 'derived';

export interface Plan {
  readonly seed: number;
  /** The whole product, or its store alone. */
  readonly play: 'broker' | 'store';
  readonly flush: 'sync' | 'async';
  /** An async store acknowledges out of a transient store pool. */
  readonly pooled: boolean;
  /** Simulated ms during which load and faults go on. */
  readonly chaosMs: number;
  readonly segmentBytes: number;
  readonly groupBytes: number;
  readonly tailBytes: number;
  readonly bodyBytesMax: number;
  readonly checkAfterMs: number;
  readonly checkIntervalMs: number;
  readonly checkMax: number;
  readonly queues: number;

  /** Broker crashes during chaos: at a random disk call each. */
  readonly crashes: number;
  /** Chance that a crash is a power cut. */
  readonly powerCuts: number;
  /** Chance that a start is crashed again during its recovery. */
  readonly crashInRecovery: number;
  /** Chance that a broker is stopped in order instead of crashed. */
  readonly orderlyStop: number;
  readonly diskSlowness: number;
  readonly writeBack: number;
  /** Whether small writes may carry their own sync. */
  readonly writesThrough: boolean;
  /** Whether files can be given their space without being written. */
  readonly allocates: boolean;
  /** The log is kept this short; 0: nothing is deleted. */
  readonly storeMaxBytes: number;
  /** After this wait for a sync an append counts as uncertain. */
  readonly syncFlushTimeoutMs: number;
  readonly trouble: DiskTrouble;
  readonly rot: Rot;

  readonly network: NetworkOptions;
  readonly endLost: number;
  readonly endDuplicated: number;
  readonly frameDuplicated: number;

  readonly producers: number;
  readonly transactionProducers: number;
  /** Actors that speak the protocol by hand and send both verdicts on purpose. */
  readonly contestants: number;
  /** A producer whose numbered requests are stored once however often they come. */
  readonly numbering: boolean;
  readonly consumersA: number;
  readonly consumersB: number;
  readonly sendEveryMs: number;
  readonly batches: number;
  readonly clientKills: number;
  readonly handlerFails: number;
  readonly checkUnknown: number;
  readonly rollbacks: number;
  readonly wallJumps: number;
}

/** What the seed says, unless it is `given`. Only a log that is not synced at once may be pooled, whoever chose that. */
export function drawPlan(seed: number, given: Partial<Plan> = {}): Plan {
  const random = new Prng(seed ^ 0x5eed);
  const plan = drawBase(seed, random);
  const drawn = {
    ...plan,
    storeMaxBytes: random.chance(0.15) ? 3 * plan.segmentBytes : 0,
    syncFlushTimeoutMs: plan.trouble === 'slow-sync' ? 60 : 2000,
    pooled: random.chance(0.4) && plan.flush === 'async',
    numbering: random.chance(0.35),
    writesThrough: random.chance(0.5),
    allocates: random.chance(0.5),
    ...given,
  };
  return { ...drawn, pooled: drawn.pooled && drawn.flush === 'async' };
}

type Base = Omit<Plan, 'writesThrough' | 'allocates'>;

function drawBase(seed: number, random: Prng): Base {
  const sometimes = (share: number, low: number, high: number): number =>
    random.chance(share) ? low + random.unit() * (high - low) : 0;
  const flush = random.chance(0.75) ? 'sync' : 'async';
  const stormy = random.chance(0.8);
  return {
    seed,
    play: random.chance(0.25) ? 'store' : 'broker',
    flush,
    pooled: false,
    chaosMs: random.pick([150, 300, 600]),
    segmentBytes: random.pick([8192, 16_384, 16_384, 32_768]),
    groupBytes: random.pick([512, 1024, 4096, 16_384]),
    tailBytes: random.pick([4096, 8192, 65_536]),
    bodyBytesMax: random.pick([20, 100, 100, 400, 1500]),
    checkAfterMs: random.pick([30, 100, 300]),
    checkIntervalMs: random.pick([50, 150]),
    checkMax: 200,
    queues: random.pick([1, 2, 4]),
    crashes: stormy ? random.between(0, 4) : 0,
    powerCuts: random.pick([0, 0.5, 1]),
    crashInRecovery: sometimes(0.5, 0.1, 0.6),
    orderlyStop: sometimes(0.3, 0.1, 0.5),
    diskSlowness: random.pick([1, 1, 3, 10]),
    writeBack: random.pick([0, 0.02, 0.3]),
    storeMaxBytes: 0,
    syncFlushTimeoutMs: 2000,
    trouble: random.chance(0.7) ? 'none' : random.pick(['full', 'slow-sync', 'write-fails', 'sync-fails', 'prepare-fails']),
    rot: random.chance(0.85) ? 'none' : random.pick(['log', 'log', 'derived']),
    network: {
      delayMinMs: 0.02,
      delayMaxMs: random.pick([0.1, 1, 5]),
      split: random.pick([0, 0.1, 0.6]),
      cut: stormy ? sometimes(0.4, 0.001, 0.02) : 0,
      halfOpen: sometimes(0.3, 0.1, 0.5),
      refuse: sometimes(0.2, 0.1, 0.5),
    },
    endLost: sometimes(0.4, 0.1, 0.8),
    endDuplicated: sometimes(0.3, 0.1, 0.8),
    frameDuplicated: sometimes(0.15, 0.01, 0.1),
    producers: random.between(0, 2),
    transactionProducers: random.between(0, 2),
    contestants: random.chance(0.3) ? 1 : 0,
    numbering: false,
    consumersA: random.between(0, 2),
    consumersB: random.chance(0.25) ? random.between(1, 2) : 0,
    sendEveryMs: random.pick([4, 8, 15, 30]),
    batches: sometimes(0.4, 0.1, 0.4),
    clientKills: stormy && random.chance(0.4) ? random.between(1, 3) : 0,
    handlerFails: sometimes(0.3, 0.05, 0.5),
    checkUnknown: sometimes(0.4, 0.1, 0.7),
    rollbacks: random.pick([0, 0.2, 0.5]),
    wallJumps: random.chance(0.1) ? 2 : 0,
  };
}

/** The store's options of a plan with a transient store pool: buffers and waits so small that their edges are met. */
export function poolOptions({ pooled }: Plan): object {
  if (!pooled) return {};
  return {
    transientStorePoolEnable: true,
    transientStorePoolSize: 3,
    transientStorePoolBufferBytes: 4096,
    commitCommitLogLeastPages: 1,
    commitIntervalCommitLog: COMMIT_INTERVAL_MS,
  };
}

/** What a kill may cost: what has waited less than this when it struck. A write may wait for the one before it, and that for a sync. */
export function killWindowMs({ diskSlowness }: Plan): number {
  return COMMIT_INTERVAL_MS + 40 * diskSlowness;
}

const COMMIT_INTERVAL_MS = 20;
