/** The whole product on stage: the shipped broker on the machine, shipped clients around it. */
import { BrokerCore } from '../../packages/broker/src/broker.ts';
import { StoreError, type RecoveryReport } from '../../packages/broker/src/store/store-types.ts';
import type { Disk } from '@tallystick/base';
import type { QueueRead } from '../checkers/ledger.ts';
import { Probe, readQueue } from '../checkers/probe.ts';
import { ConsumerActor, ProducerActor, TransactionActor } from './client-actors.ts';
import { CONTESTANTS, Contestant } from './contestant.ts';
import { NumberingProducer } from './numbering.ts';
import { killWindowMs, poolOptions } from './plan.ts';
import type { Play, PlayServer } from './play.ts';
import { Prober } from './prober.ts';
import { ADDRESS, TOPIC, type Actor, type Stage } from './stage.ts';
import { noteRecovery } from './store-play.ts';
import type { SimProcess } from './world.ts';

export function brokerPlay(stage: Stage): Play {
  const { plan } = stage;
  const clients = [
    ...Array.from({ length: plan.producers }, (_, n) => new ProducerActor(stage, n)),
    ...Array.from({ length: plan.transactionProducers }, (_, n) => new TransactionActor(stage, n)),
    ...Array.from({ length: plan.consumersA }, (_, n) => new ConsumerActor(stage, 'ledgers', n, false)),
    ...Array.from({ length: plan.consumersB }, (_, n) => new ConsumerActor(stage, 'audits', n, true)),
  ];
  const groups = [...(plan.consumersA > 0 ? ['ledgers'] : []), ...(plan.consumersB > 0 ? ['audits'] : [])];
  const actors: Actor[] = [...clients];
  for (let n = 0; n < plan.contestants; n++) actors.push(new Contestant(stage));
  if (plan.numbering) actors.push(new NumberingProducer(stage));
  if (groups.length > 0) actors.push(new Prober(stage, groups));
  return {
    actors,
    groups,
    open: (done) => createTopic(stage, done),
    boot: (owner, disk, failed) => bootBroker(stage, owner, disk, failed),
    readAll: (done) => readAll(stage, done),
    deadLetters: (group, done) => readDeadLetters(stage, group, done),
  };
}

/** Buffers and caches so small that their edges are met. */
const SMALL = {
  blockBytes: 4096,
  pendingBytesMax: 65_536,
  unsyncedBytesMax: 16_384,
  waitTimeMillsInSendQueue: 10,
  sendThreadPoolQueueCapacity: 8,
  osPageCacheBusyTimeOutMills: 20,
  reserveBytes: 16_384,
  spanBytes: 4096,
  spanCacheBytes: 16_384,
  indexCacheBlocks: 4,
  fullRetryMs: 50,
};

function bootBroker(stage: Stage, owner: SimProcess, disk: Disk, failed: (reason: string) => void): PlayServer {
  const { plan, network } = stage;
  const core = new BrokerCore(
    { disk, ...owner.ports },
    {
      advertise: ADDRESS,
      flush: plan.flush,
      ...poolOptions(plan),
      segmentBytes: plan.segmentBytes,
      groupBytes: plan.groupBytes,
      tailBytes: plan.tailBytes,
      ...SMALL,
      syncIntervalMs: 50,
      syncFlushTimeoutMs: plan.syncFlushTimeoutMs,
      retentionIntervalMs: 20,
      ...(plan.storeMaxBytes > 0 ? { storeMaxBytes: plan.storeMaxBytes } : {}),
      checkAfterMs: plan.checkAfterMs,
      checkIntervalMs: plan.checkIntervalMs,
      checkMax: plan.checkMax,
      delayLevelsMs: [10, 20, 40, 80],
      clientExpiryMs: 1000,
      clientScanMs: 200,
      lockLeaseMs: 400,
      longPollMaxMs: 200,
    },
    { failed },
  );
  let stopListening = (): void => {};
  let report: RecoveryReport | undefined;
  return {
    lossWindowMs: 50 + 40 * plan.diskSlowness + (plan.pooled ? killWindowMs(plan) : 0),
    start: (done) =>
      core.start((error, found) => {
        if (error !== undefined)
          return done({ error: { refused: error instanceof StoreError && error.kind === 'refused', message: error.message } });
        report = found;
        stopListening = network.listen(ADDRESS, owner, (wire) => core.accept(wire));
        done({});
      }),
    stop: (done) => {
      stopListening();
      core.stop(() => done());
    },
    noteRecovery: (coverage) => noteRecovery(report as RecoveryReport, coverage),
    queueEnds: () => new Map([...core.store.queues()].map((queue) => [`${queue.topic}/${queue.queueId}`, queue.nextOffset])),
    // A contestant whose half was stored unknown to it has nobody who could be asked.
    openHalves: () => core.halves().filter((half) => half.group !== CONTESTANTS).length,
  };
}

const UPDATE_AND_CREATE_TOPIC = 17;

/** Asks for the topic until the broker says that it is there. */
function createTopic(stage: Stage, done: () => void): void {
  const owner = stage.world.process('founder');
  const probe = new Probe(stage.network.dialer(owner), owner.ports.timers, ADDRESS, 200);
  const { queues } = stage.plan;
  const fields = {
    topic: TOPIC,
    defaultTopic: 'TBW102',
    readQueueNums: queues,
    writeQueueNums: queues,
    perm: 6,
    topicFilterType: 'SINGLE_TAG',
    topicSysFlag: 0,
    order: false,
  };
  const ask = (): void =>
    probe.call(UPDATE_AND_CREATE_TOPIC, fields, new Uint8Array(0), (answer) => {
      if (answer?.code !== 0) return void owner.ports.timers.after(20, ask);
      owner.kill();
      done();
    });
  ask();
}

function readAll(stage: Stage, done: (reads: QueueRead[]) => void): void {
  const owner = stage.world.process('reader');
  const probe = new Probe(stage.network.dialer(owner), owner.ports.timers, ADDRESS, 10_000);
  const reads: QueueRead[] = [];
  let left = stage.plan.queues;
  for (let queueId = 0; queueId < stage.plan.queues; queueId++) {
    readQueue(probe, TOPIC, queueId, (read) => {
      if (read !== undefined) reads.push(read);
      if (--left > 0) return;
      owner.kill();
      done(reads);
    });
  }
}

function readDeadLetters(stage: Stage, group: string, done: (ids: readonly string[]) => void): void {
  const owner = stage.world.process('undertaker');
  const probe = new Probe(stage.network.dialer(owner), owner.ports.timers, ADDRESS, 1000);
  readQueue(probe, `%DLQ%${group}`, 0, (read) => {
    owner.kill();
    done(read?.records.map(({ id }) => id) ?? []);
  });
}
