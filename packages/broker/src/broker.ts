import type { Clock, Dialer, Disk, Random, Timer, Timers, Turn, Wire } from '@tallystick/base';
import { Peer, type Frame, type PeerHandler, type PeerOptions } from '@tallystick/remoting';
import { Connection, connectionOf, Hold } from './connection.ts';
import { Counters } from './counters.ts';
import { Rates } from './rates.ts';
import { DelayLevels } from './delivery/delay-levels.ts';
import { DelayState } from './delivery/delay-state.ts';
import { PullHold } from './delivery/pull-hold.ts';
import { Admission } from './flow-control/admission.ts';
import { Doorkeeper } from './flow-control/doorkeeper.ts';
import { FlowControl } from './flow-control/flow-control.ts';
import type { ShownLane } from './flow-control/lane.ts';
import { ConsumerGroups } from './groups/consumer-groups.ts';
import { ConsumerOffsets } from './groups/consumer-offsets.ts';
import { GroupReads } from './groups/group-reads.ts';
import { ProducerGroups } from './groups/producer-groups.ts';
import { QueueLocks } from './groups/queue-locks.ts';
import { ReadingLimits } from './groups/reading-limits.ts';
import { shownHalf, type ShownHalf } from './handlers/admin.ts';
import { notifyMembers } from './handlers/clients.ts';
import type { Parts } from './handlers/parts.ts';
import { Registry } from './handlers/registry.ts';
import { appendFailure } from './handlers/reply.ts';
import { identity, identityBody, StoredIdentity, type Identity } from './identity.ts';
import { CONTROL_VERSION, type Journal } from './journal.ts';
import { brokerOptions, type BrokerOptions, type GivenBrokerOptions } from './options.ts';
import { RegisteredBrokers } from './registration/registered-brokers.ts';
import { Registrar } from './registration/registrar.ts';
import { ProducerSequences } from './sequences/producer-sequences.ts';
import { ControlType } from './store/control-records.ts';
import { STORE_OPTIONS, type StoreOptions } from './store/options.ts';
import type { QueueRef } from './store/queue-ref.ts';
import type { RecordView } from './store/record-view.ts';
import { sinkOf, StoreError, type RecoveryReport } from './store/store-types.ts';
import { Store } from './store/store.ts';
import { SCHEDULE_TOPIC } from './topics/system-topics.ts';
import { TopicTable } from './topics/topic-table.ts';
import { TopicsFile } from './topics/topics-file.ts';
import { CheckAsker } from './transaction/check-asker.ts';
import { CheckBack, type CheckRound } from './transaction/check-back.ts';
import { HalfState } from './transaction/half-state.ts';
import { TransactionEnds } from './transaction/transaction-ends.ts';

export interface BrokerPorts {
  readonly disk: Disk;
  /** Needed to register at name servers. */
  readonly dialer?: Dialer | undefined;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
  readonly random: Random;
}

/** What the broker tells its host. All are called from the loop, none during a call of the host's. */
export interface BrokerSignals {
  /** The store will take nothing more in this process; every connection is being closed. */
  failed?(reason: string): void;
  /** The disk is full, or has space again. */
  full?(isFull: boolean): void;
  /** Something waits for a person: halves were parked, or wait for a group that has no producer. */
  alarm?(sentence: string): void;
}

/**
 * The broker: every part is built here once, in the order in which it starts, and stopped in the reverse order. Promises: every
 * request that wants an answer gets one; what was acknowledged is as durable as the flush mode says; after a failed write or sync
 * nothing is ever acknowledged again. It knows neither sockets nor files: wires are handed to {@link accept}.
 *
 *   new       built, nothing runs
 *   starting  the store recovers                                          → serving, stopped (refused)
 *   serving   connections are served                                      → stopping, failed
 *   stopping  no request is read; what was accepted is written and answered → stopped
 *   failed    the store has failed: connections are closed, `stop` still works → stopped
 *   stopped   the end
 */
export class BrokerCore implements PeerHandler {
  readonly options: BrokerOptions;
  readonly counters = new Counters();
  readonly #rates = new Rates(this.counters);
  readonly #reads: GroupReads;
  readonly #ports: BrokerPorts;
  readonly #signals: BrokerSignals;
  readonly #storedIdentity = new StoredIdentity();
  readonly #topics: TopicTable;
  readonly #topicsFile: TopicsFile;
  readonly #offsets: ConsumerOffsets;
  readonly #halves = new HalfState();
  readonly #delayState = new DelayState();
  readonly #sequences: ProducerSequences;
  readonly #store: Store;
  readonly #producers: ProducerGroups<Peer>;
  readonly #consumers: ConsumerGroups<Peer>;
  readonly #locks: QueueLocks;
  readonly #limits: ReadingLimits;
  readonly #hold: PullHold;
  readonly #delays: DelayLevels;
  readonly #ends: TransactionEnds;
  readonly #checkBack: CheckBack;
  readonly #registry: Registry;
  readonly #flow: FlowControl;
  readonly #door: Doorkeeper;
  readonly #registered: RegisteredBrokers;
  readonly #registrar: Registrar | undefined;
  readonly #peers = new Set<Peer>();
  readonly #peerOptions: PeerOptions;
  #state: 'new' | 'starting' | 'serving' | 'stopping' | 'failed' | 'stopped' = 'new';
  #recovery: RecoveryReport | undefined;
  #scanTimer: Timer | undefined;
  #allClosed: (() => void) | undefined;

  constructor(ports: BrokerPorts, given: GivenBrokerOptions = {}, signals: BrokerSignals = {}) {
    const options = (this.options = brokerOptions(given));
    this.#ports = ports;
    this.#signals = signals;
    const self = identity(options);
    const journal: Journal = {
      control: (type, body, level, done) => void this.#store.appendControl(type, CONTROL_VERSION, body, level, sinkOf(done), 0),
    };

    this.#topics = new TopicTable(options, journal, () => this.#topicsChanged());
    this.#topicsFile = new TopicsFile(ports.disk, () => this.#topics.json(ports.clock.now()));
    this.#offsets = new ConsumerOffsets(journal, ports.turn);
    this.#limits = new ReadingLimits(
      this.#offsets,
      options,
      () => ports.clock.monotonic(),
      (group, peer) => this.#consumers.group(group)?.channels.get(peer as Peer)?.clientId,
    );
    this.#sequences = new ProducerSequences(options);
    this.#store = new Store(
      ports,
      storeOptions(options),
      {
        storeHost: self.host,
        tagsCodeOf: (record) => dueTime(record, options.delayLevelsMs),
        tagsCodeTopics: [SCHEDULE_TOPIC],
        floor: () => this.#floor(),
      },
      {
        arrived: (queue, maxOffset) => this.#arrived(queue, maxOffset),
        failed: (reason) => this.#failed(reason),
        full: (isFull) => this.#signals.full?.(isFull),
        shortOfFiles: (sentence) => {
          this.counters.shortOfFiles++;
          this.#signals.alarm?.(sentence);
        },
        movedAside: (sentence) => this.#signals.alarm?.(sentence),
        progress: () => this.#flow.progress(),
      },
      [this.#storedIdentity, this.#topics, this.#offsets, this.#halves, this.#delayState, this.#sequences],
    );
    this.#producers = new ProducerGroups(options.groupsMax);
    this.#consumers = new ConsumerGroups(options.groupsMax, notifyMembers);
    this.#reads = new GroupReads(ports.clock, options.groupsMax);
    this.#locks = new QueueLocks(options.lockLeaseMs);
    this.#hold = new PullHold(ports.timers, options.heldPullsMax);
    this.#delays = new DelayLevels(ports, this.#store, this.#delayState, this.#topics, this.counters, options.delayBatchMax);

    const admission = new Admission(options.connectionSendsMax, options.connectionSendBytesMax);
    this.#registered = new RegisteredBrokers(options, self.brokerName);
    this.#registrar = options.nameServers === '' ? undefined : this.#newRegistrar(self);
    const parts: Parts = {
      options,
      clock: ports.clock,
      timers: ports.timers,
      turn: ports.turn,
      random: ports.random,
      identity: self,
      store: this.#store,
      topics: this.#topics,
      producers: this.#producers,
      consumers: this.#consumers,
      offsets: this.#offsets,
      limits: this.#limits,
      locks: this.#locks,
      hold: this.#hold,
      halves: this.#halves,
      sequences: this.#sequences,
      registered: this.#registered,
      admission,
      pullBytes: (wanted) => this.#flow.pullBytes(wanted),
      lanes: () => this.#flow.lanes(),
      writeAgeMs: () => this.#flow.writeAgeMs,
      counters: this.counters,
      rates: this.#rates,
      reads: this.#reads,
    };
    this.#ends = new TransactionEnds(parts, options.endsInFlightMax);
    const asker = new CheckAsker(this.#store, this.#producers, self.brokerName);
    this.#checkBack = new CheckBack(ports, options, this.#halves.table, asker, journal, (round) => this.#checked(round));
    this.#door = new Doorkeeper(ports, options, this.counters);
    this.#registry = new Registry(parts, this.#ends);
    this.#flow = new FlowControl(ports, options, this.#store, admission, this.counters, this.#registry);
    this.#peerOptions = {
      maxFrameBytes: options.maxFrameBytes,
      outputSoftBytes: options.outputSoftBytes,
      outputHardBytes: options.outputHardBytes,
      outputStallMs: options.outputStallMs,
      stopReadingWhenFull: true,
      idleMs: options.idleMs,
    };
  }

  /** The log underneath: for inspection and tools, not for appending. */
  get store(): Store {
    return this.#store;
  }

  /** What recovery found at the start. */
  get recovery(): RecoveryReport {
    if (this.#recovery === undefined) throw new Error('the broker is not started');
    return this.#recovery;
  }

  get state(): string {
    return this.#state;
  }

  /** Recovers and begins to serve. An error means that nothing runs and nothing was changed but what recovery mends. */
  start(done: (error: StoreError | undefined, report: RecoveryReport) => void): void {
    if (this.#state !== 'new')
      return done(new StoreError('refused', `the broker is ${this.#state}, not new`), undefined as never);
    this.#state = 'starting';
    this.#store.open((error, report) => {
      this.#recovery = report;
      if (error !== undefined) {
        this.#state = 'stopped';
        return done(error, report);
      }
      this.#opened(report, (problem) => {
        if (problem === undefined) {
          this.#serve();
          return this.#register((refusal) => done(refusal, report));
        }
        this.#store.close(() => {
          this.#state = 'stopped';
          done(problem, report);
        });
      });
    });
  }

  /** Stops in order: no more requests, what was accepted is written, synced and answered, then connections close. */
  stop(done: (error: Error | undefined) => void): void {
    if (this.#state === 'new' || this.#state === 'stopped') {
      this.#state = 'stopped';
      return done(undefined);
    }
    if (this.#state === 'stopping' || this.#state === 'starting') return done(new Error(`the broker is ${this.#state}`));
    this.#state = 'stopping';
    for (const peer of this.#peers) connectionOf(peer).hold(Hold.STOPPING);
    if (this.#scanTimer !== undefined) this.#ports.timers.cancel(this.#scanTimer);
    this.#checkBack.stop();
    this.#delays.stop();
    this.#door.stop();
    this.#flow.stop((peer, ref) => peer.answer(ref, appendFailure('closed').code, appendFailure('closed').text));
    this.#registry.stop();
    this.#ends.stop();
    for (const peer of this.#peers) for (const pull of connectionOf(peer).held) if (this.#hold.drop(pull)) pull.wake();
    this.#unregister(() =>
      this.#store.close((error) => {
        this.#closePeers('the broker is stopping', () => {
          this.#state = 'stopped';
          done(error);
        });
      }),
    );
  }

  /** Serves a connection until it ends. One too many, or one that comes when the broker does not serve, is closed. */
  accept(wire: Wire): void {
    if (this.#state !== 'serving' || !this.#door.admits(wire.remote)) {
      wire.close(false);
      return;
    }
    const peer = new Peer(wire, this.#ports, this.#peerOptions, this);
    peer.state = new Connection(peer);
    this.#flow.watch(peer, wire);
    this.#peers.add(peer);
    this.#door.entered(peer);
    this.counters.connectionsOpened++;
    this.counters.connections = this.#peers.size;
  }

  onRequest(peer: Peer, frame: Frame): void {
    this.#flow.take(peer, frame);
  }

  onClose(peer: Peer, reason: string): void {
    this.#peers.delete(peer);
    this.#door.left(peer, reason);
    this.counters.connections = this.#peers.size;
    for (const pull of connectionOf(peer).held) this.#hold.drop(pull);
    this.#flow.leave(peer);
    this.#ends.leave(peer);
    this.#registered.leave(peer);
    this.#producers.leave(peer);
    this.#consumers.leave(peer);
    if (this.#peers.size === 0) this.#allClosed?.();
  }

  /** How the lanes of requests stand, in order of precedence. */
  lanes(): ShownLane[] {
    return this.#flow.lanes();
  }

  /** Half messages without a verdict, parked ones first, oldest first. */
  halves(limit?: number): ShownHalf[] {
    const nowMs = this.#ports.clock.now();
    return this.#halves.table.rows(limit).map((row) => shownHalf(row, nowMs));
  }

  topicList(): {
    readonly name: string;
    readonly readQueues: number;
    readonly writeQueues: number;
    readonly perm: number;
    readonly system: boolean;
  }[] {
    return [...this.#topics.all()].map(({ config, system }) => ({
      name: config.name,
      readQueues: config.readQueues,
      writeQueues: config.writeQueues,
      perm: config.perm,
      system,
    }));
  }

  /** Writes a snapshot now instead of at the next segment. */
  snapshot(done: (error: string | undefined) => void): void {
    this.#store.snapshotNow(done);
  }

  /** After recovery: the names must be the store's own; a new store takes in an exported topic list. */
  #opened(report: RecoveryReport, done: (problem: StoreError | undefined) => void): void {
    const { brokerName, clusterName } = this.options;
    const stored = this.#storedIdentity.names;
    if (stored !== undefined && (stored.brokerName !== brokerName || stored.clusterName !== clusterName)) {
      const text = `this store belongs to broker ${stored.brokerName} of cluster ${stored.clusterName}, not to ${brokerName} of ${clusterName}; use its names or another folder`;
      return done(new StoreError('refused', text, 'identity'));
    }
    const begin = (): void => {
      if (!report.clean && this.options.flush === 'async') this.#limits.begin(this.#store.queues());
      if (stored !== undefined) return done(undefined);
      const sink = sinkOf((outcome) =>
        done(outcome === 'ok' ? undefined : new StoreError('io', `the store did not take the broker's name: ${outcome}`)),
      );
      this.#store.appendControl(ControlType.TOPICS, CONTROL_VERSION, identityBody(this.options), 'synced', sink, 0);
    };
    if (!report.isNew) return begin();
    this.#topicsFile.import((error, topics) => {
      if (error !== undefined) return done(new StoreError('refused', error.message, 'topics.json'));
      for (const config of topics) if (this.#topics.get(config.name) === undefined) this.#topics.put(config);
      begin();
    });
  }

  #serve(): void {
    this.#state = 'serving';
    this.#topicsFile.export();
    this.#delays.start();
    this.#checkBack.start();
    this.#scan();
  }

  /** Every few seconds: who has been silent too long has left, and the rates get their next look. */
  #scan(): void {
    const nowMs = this.#ports.clock.monotonic();
    this.#producers.expire(nowMs - this.options.clientExpiryMs);
    this.#consumers.expire(nowMs - this.options.clientExpiryMs);
    this.#locks.expire(nowMs);
    this.#registered.expire(nowMs);
    this.#rates.look(nowMs);
    this.#reads.look();
    this.#scanTimer = this.#ports.timers.after(this.options.clientScanMs, () => this.#scan());
  }

  #arrived(queue: QueueRef, maxOffset: number): void {
    this.#hold.arrived(queue, maxOffset);
    if (queue.topic === SCHEDULE_TOPIC) this.#delays.arrived(queue);
  }

  #topicsChanged(): void {
    if (this.#state !== 'serving') return;
    this.#topicsFile.export();
    this.#registrar?.changed();
  }

  #newRegistrar(self: Identity): Registrar {
    const { dialer, clock, timers, turn } = this.#ports;
    if (dialer === undefined) throw new Error('a broker that registers at name servers needs a dialer');
    if (self.address.endsWith(':0'))
      throw new Error(
        `clients cannot reach ${self.address}: a broker that registers at name servers needs an advertised address`,
      );
    // Equal versions must mean equal topics; the counter starts where it was, so the start tells two lives apart.
    const timestamp = clock.now();
    const registered = {
      version: () => ({ stateVersion: 0, timestamp, counter: this.#topics.version }),
      topicConfigTable: () => this.#topics.json(timestamp)['topicConfigTable'],
    };
    const report = (sentence: string): void => this.#signals.alarm?.(sentence);
    return new Registrar({ dialer, clock, timers, turn }, this.options, self, registered, report);
  }

  /** The name must be free where clients will look it up; otherwise the broker stops again. */
  #register(done: (refusal: StoreError | undefined) => void): void {
    if (this.#registrar === undefined) return done(undefined);
    this.#registrar.start((refusal) => {
      if (refusal === undefined) return done(undefined);
      this.stop(() => done(new StoreError('refused', refusal, 'registration')));
    });
  }

  #unregister(done: () => void): void {
    if (this.#registrar === undefined) done();
    else this.#registrar.stop(done);
  }

  #checked({ asked, parked, waiting, oldestWaitingMs }: CheckRound): void {
    this.counters.checksSent += asked;
    this.counters.parked += parked;
    if (parked > 0)
      this.#signals.alarm?.(
        `${parked} half messages were parked: their producers did not decide in ${this.options.checkMax} questions`,
      );
    if (oldestWaitingMs < this.options.waitingAlarmMs) return;
    this.#signals.alarm?.(
      `${waiting} half messages wait for producer groups that are not connected, the oldest for ${Math.round(oldestWaitingMs / 1000)} s`,
    );
  }

  #failed(reason: string): void {
    if (this.#state === 'failed' || this.#state === 'stopped') return;
    if (this.#state === 'serving') this.#state = 'failed';
    if (this.#scanTimer !== undefined) this.#ports.timers.cancel(this.#scanTimer);
    this.#checkBack.stop();
    this.#delays.stop();
    this.#door.stop();
    this.#flow.stop(() => {});
    this.#ends.stop();
    this.#unregister(() => {});
    for (const peer of this.#peers) peer.close(true, `the store has failed: ${reason}`);
    this.#signals.failed?.(reason);
  }

  #closePeers(reason: string, done: () => void): void {
    if (this.#peers.size === 0) return done();
    this.#allClosed = () => {
      this.#allClosed = undefined;
      done();
    };
    for (const peer of [...this.#peers]) peer.close(true, reason);
  }

  /** Retention must not pass an unsettled half, a delayed message that has not fired, nor what a protected group has not read. */
  #floor(): number {
    let floor = this.#halves.table.oldestPosition() ?? Number.MAX_SAFE_INTEGER;
    for (let queueId = 0; queueId < this.#topics.schedule.queueCount; queueId++) {
      const queue = this.#store.findQueue(SCHEDULE_TOPIC, queueId);
      if (queue === undefined) continue;
      const next = this.#delayState.next(queue.queueId + 1);
      if (next < queue.nextOffset) floor = Math.min(floor, this.#store.floorOf(queue, next));
    }
    for (const group of this.options.protectedGroups.split(',')) {
      for (const { topic, queueId, offset } of this.#offsets.of(group)) {
        const queue = this.#store.findQueue(topic, queueId);
        if (queue !== undefined && offset < queue.nextOffset) floor = Math.min(floor, this.#store.floorOf(queue, offset));
      }
    }
    return floor;
  }
}

/** The store's rows of the options table. */
function storeOptions(options: BrokerOptions): StoreOptions {
  return Object.fromEntries(
    Object.keys(STORE_OPTIONS).map((name) => [name, options[name as keyof StoreOptions]]),
  ) as StoreOptions;
}

/** The tag field of a delayed message is its due time. */
function dueTime(record: RecordView, delayLevelsMs: readonly number[]): number | undefined {
  return record.topic() === SCHEDULE_TOPIC ? record.storeTimestamp + (delayLevelsMs[record.queueId] ?? 0) : undefined;
}
