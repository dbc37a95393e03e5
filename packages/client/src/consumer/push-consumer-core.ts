/**
 * A consumer that is given messages: a member of a group (clustering), with rebalancing, long-poll pulls, bounded windows, retries
 * and committed offsets. A message is handled at least once; its offset is committed only after its handler has succeeded or the broker has
 * taken it back for a retry.
 *
 *    start    routes → join the group (heartbeat answered) → share out the queues → pull
 *    running  every rebalanceIntervalMs, and when the broker says that the group changed: share out anew
 *             every commitIntervalMs: tell the offsets that changed
 *    close    stop pulling → wait for the handlers at work (closeTimeoutMs) → tell all offsets, answered → return locks → leave the group
 */
import type { Timer } from '@tallystick/base';
import { type LazyMessage, viewStoredMessage } from '@tallystick/remoting';
import type { ClientContext } from '../context.ts';
import { ClientError, fail } from '../errors.ts';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { ConsumerOptions } from '../options.ts';
import { topicFault } from '../route/topic-name.ts';
import type { ProducerCore } from '../producer/producer-core.ts';
import type { QueueKey } from '../route/queue-key.ts';
import type { ConsumerMember } from '../session.ts';
import { Assignment } from './assignment.ts';
import { BrokerCalls, type CallOwner } from './broker-calls.ts';
import { ConcurrentRunner } from './concurrent.ts';
import type { PullAnswer } from './group-calls.ts';
import { OrderlyRunner } from './orderly.ts';
import type { Held, ProcessQueue } from './process-queue.ts';
import { PulledRecords } from './pulled-records.ts';
import { QueueLocks } from './queue-locks.ts';
import { Rebalance } from './rebalance.ts';
import { retryTopic } from './retry-copy.ts';
import type { Handle, Runner } from './runner.ts';
import { Subscription } from './subscription.ts';
import { readable, TopicWatch } from './topic-watch.ts';

export interface ConsumerSetup {
  /** Topics with what is wanted of them: `*`, or tags joined by `||`. */
  readonly topics: ReadonlyMap<string, string> | Readonly<Record<string, string>>;
  /** Where a group without stored offsets begins in a topic that exists when it subscribes; in any other, at the first message. */
  readonly from: 'first' | 'last';
  readonly handler: Handle<ReceivedMessage>;
}

/** RocketMQ's: 16 failures, then the dead letters. */
const DEFAULT_RETRIES = 16;
/** "Without end" as the broker understands it. */
const ENDLESS_RETRIES = 0x7fffffff;

type Queue = ProcessQueue<ReceivedMessage>;

export class PushConsumerCore implements ConsumerMember, CallOwner {
  readonly group: string;
  readonly options: ConsumerOptions;
  readonly maxReconsumeTimes: number;
  readonly clientId: string;
  readonly #context: ClientContext;
  readonly #setup: ConsumerSetup;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #watch: TopicWatch;
  readonly #retries: ProducerCore;
  readonly #calls: BrokerCalls;
  readonly #locks: QueueLocks | undefined;
  readonly #assignment: Assignment<ReceivedMessage>;
  readonly #runner: Runner<ReceivedMessage>;
  readonly #rebalance: Rebalance;
  #unwatch: (() => void) | undefined;
  #commitTimer: Timer | undefined;
  #sweepTimer: Timer | undefined;
  #state: 'new' | 'running' | 'closing' | 'closed' = 'new';
  #idle: (() => void) | undefined;
  /** Called once when it has closed. */
  onClosed: (() => void) | undefined;
  #handingBack = 0;

  /** `retries` sends copies to the retry topic when a broker does not take a message back. Throws for a setup that cannot work. */
  constructor(context: ClientContext, options: ConsumerOptions, setup: ConsumerSetup, retries: ProducerCore) {
    this.#context = context;
    this.#setup = setup;
    this.#retries = retries;
    this.options = options;
    this.group = options.group;
    this.clientId = context.session.clientId;
    this.maxReconsumeTimes =
      options.maxReconsumeTimes >= 0 ? options.maxReconsumeTimes : options.orderly ? ENDLESS_RETRIES : DEFAULT_RETRIES;
    this.#subscribe(setup.topics);
    this.#calls = new BrokerCalls(context, this, retries);
    this.#locks = options.orderly
      ? new QueueLocks(this.#calls, context.ports, options, (key) => this.#assignment.lockLost(key))
      : undefined;
    this.#assignment = new Assignment(
      this.#calls,
      context.ports,
      { ...options, from: setup.from },
      this.#locks,
      this.#assignmentOwner(),
    );
    this.#runner = this.#makeRunner();
    this.#rebalance = new Rebalance(this.#calls, context.ports.timers, options.rebalanceIntervalMs, this.#rebalanceOwner());
    this.#watch = new TopicWatch(context.routes, () => this.#rebalance.now());
  }

  /** Joins the group; `done` when a broker has taken it and messages may come, or with why none has. */
  start(done: (error: ClientError | undefined) => void): void {
    if (this.#state !== 'new') return done(fail('CLOSED', 'a consumer starts once'));
    const { session } = this.#context;
    if (session.hasConsumer(this.group)) {
      return done(
        new ClientError('GROUP_IN_USE', 'rejected', 'never', `this client has a consumer of group ${this.group} already`),
      );
    }
    this.#state = 'running';
    session.joinConsumer(this);
    this.#unwatch = session.watchConnections((connection) => {
      if (connection.state === 'open') this.#assignment.offsets.doubt();
    });
    this.#tick();
    this.#sweep();
    this.#locks?.start();
    const retry = retryTopic(this.group);
    const own = [...this.#subscriptions.keys()].filter((topic) => topic !== retry);
    // The routes name the brokers; the heartbeat makes them make the retry topic. Messages sent after `done` are seen even by a group that
    // begins at the end: it has its places by then, and a topic that does not exist so far will be read from its first message.
    // Not so a topic that exists and could not be looked up (a name server that is busy): its end is looked for when it is found.
    this.#watch.follow(own, () => {
      session.announce((error) => {
        if (this.#state !== 'running') return done(fail('CLOSED'));
        this.#watch.follow([retry], () => this.#rebalance.now(() => this.#assignment.whenSettled(() => done(error))));
      });
    });
  }

  /** See the head of the file. `done` is called once everything is settled or `closeTimeoutMs` has passed. */
  close(done: () => void): void {
    if (this.#state === 'new') {
      this.#state = 'closed';
      this.onClosed?.();
    }
    if (this.#state !== 'running') return done();
    this.#state = 'closing';
    const { timers } = this.#context.ports;
    this.#rebalance.stop();
    this.#locks?.stop();
    for (const timer of [this.#commitTimer, this.#sweepTimer]) if (timer !== undefined) timers.cancel(timer);
    this.#runner.stop();
    this.#assignment.stopPulling();
    const timer = timers.after(this.options.closeTimeoutMs, () => this.#idle?.());
    this.#idle = () => {
      this.#idle = undefined;
      timers.cancel(timer);
      this.#leave(done);
    };
    this.#checkIdle();
  }

  subscriptionOf(topic: string): Subscription | undefined {
    return this.#subscriptions.get(topic);
  }

  /** The group's entry in the heartbeat. */
  heartbeat(): object {
    return {
      groupName: this.group,
      consumeType: 'CONSUME_PASSIVELY',
      messageModel: 'CLUSTERING',
      consumeFromWhere: this.#setup.from === 'first' ? 'CONSUME_FROM_FIRST_OFFSET' : 'CONSUME_FROM_LAST_OFFSET',
      subscriptionDataSet: [...this.#subscriptions.values()].map((subscription) => subscription.data()),
      unitMode: false,
    };
  }

  /** The group has gained or lost a member. */
  changed(): void {
    this.#rebalance.now();
  }

  /** Messages that handlers have or will get, for a glance from outside. */
  get cached(): number {
    let count = 0;
    for (const queue of this.#assignment.queues()) count += queue.count;
    return count;
  }

  /** The queues this member has at present. */
  get assigned(): QueueKey[] {
    return [...this.#assignment.queues()].map((queue) => queue.key);
  }

  #subscribe(topics: ConsumerSetup['topics']): void {
    const entries: Iterable<readonly [string, string]> = isMap(topics) ? topics : Object.entries(topics);
    const version = this.#context.ports.clock.now();
    for (const [topic, expression] of entries) {
      const fault = topicFault(topic);
      if (fault !== undefined) throw fail('ILLEGAL_RECORD', fault);
      this.#subscriptions.set(topic, new Subscription(topic, expression, version));
    }
    if (this.#subscriptions.size === 0)
      throw new ClientError('NO_TOPICS', 'rejected', 'never', `consumer group ${this.group} has no topics`);
    const retry = retryTopic(this.group);
    this.#subscriptions.set(retry, new Subscription(retry, '*', version));
  }

  #makeRunner(): Runner<ReceivedMessage> {
    const { options } = this;
    const { ports } = this.#context;
    const owner = {
      finished: (held: Held<ReceivedMessage>) => {
        this.#assignment.finished(held.queue);
        this.#checkIdle();
      },
      idle: (queue: Queue) => {
        this.#assignment.finished(queue);
        this.#checkIdle();
      },
      failed: (held: Held<ReceivedMessage>, error: unknown, done: (handedOn: boolean) => void) => this.#failed(held, error, done),
      report: this.#context.report,
      mayRun: (queue: Queue, nowMs: number) => this.#locks!.holds(queue.key, nowMs),
      repeated: (message: ReceivedMessage) => message.repeat(),
    };
    if (!options.orderly) return new ConcurrentRunner(ports, options, this.#setup.handler, owner);
    return new OrderlyRunner(ports, { ...options, maxReconsumeTimes: this.maxReconsumeTimes }, this.#setup.handler, owner);
  }

  #assignmentOwner(): ConstructorParameters<typeof Assignment<ReceivedMessage>>[4] {
    return {
      pulled: (queue, answer) => this.#pulled(queue, answer),
      moved: (queue, answer) => {
        const { topic, queueId } = queue.key;
        const text = `queue ${queueId} of ${topic} has ${answer.minOffset} to ${answer.maxOffset}, not ${queue.nextOffset}; going on at ${answer.nextOffset}`;
        this.#context.report(text, undefined);
        this.#assignment.moveTo(queue, answer.nextOffset);
      },
      unregistered: () => this.#context.session.beatAll(),
      startsAtFirst: (topic) => topic === retryTopic(this.group) || this.#watch.isNew(topic),
      tryAgain: () => this.#rebalance.soon(this.options.rebalanceRetryMs),
      report: this.#context.report,
    };
  }

  #rebalanceOwner(): ConstructorParameters<typeof Rebalance>[3] {
    return {
      clientId: this.clientId,
      topics: () => this.#subscriptions.keys(),
      queuesOf: (topic) => readable(this.#context.routes.get(topic)),
      assign: (topic, queues) => {
        if (this.#state === 'running') this.#assignment.assign(topic, queues);
      },
      unlisted: () => {
        this.#context.session.beatAll();
        this.#rebalance.soon(this.options.rebalanceRetryMs);
      },
      report: this.#context.report,
    };
  }

  #pulled(queue: Queue, answer: PullAnswer): string | undefined {
    const { body } = answer;
    const subscription = this.#subscriptions.get(queue.key.topic)!;
    const source = new PulledRecords(body, queue.key.brokerName, this.options.inflatedBytesMax);
    let fault: string | undefined;
    for (let at = 0; at < body.length && fault === undefined;) {
      const stored = viewStoredMessage(body, at, body.length);
      if (typeof stored === 'string') fault = `record at byte ${at} of ${body.length}: ${stored}`;
      else {
        at = stored.end;
        this.#put(queue, stored, subscription, source);
      }
    }
    this.#runner.offer(queue);
    return fault;
  }

  #put(queue: Queue, stored: LazyMessage, subscription: Subscription, source: PulledRecords): void {
    const offset = stored.queueOffset;
    if (offset < queue.nextOffset) return;
    queue.nextOffset = offset + 1;
    if (subscription.wants(stored)) queue.put(source, stored.at, offset, stored.end - stored.at);
  }

  #failed(held: Held<ReceivedMessage>, error: unknown, done: (handedOn: boolean) => void): void {
    const { message } = held;
    // Orderly consumption has repeated in place as often as it should: what comes here is for the dead letters.
    const bury = this.options.orderly;
    this.#context.report(`message ${message.id} of ${message.topic} failed (${message.reconsumeTimes} times before)`, error);
    this.#handingBack++;
    this.#calls.sendBack(message, bury, (handedOn) => {
      this.#handingBack--;
      done(handedOn);
      this.#checkIdle();
    });
  }

  #tick(): void {
    this.#commitTimer = this.#context.ports.timers.after(this.options.commitIntervalMs, () => {
      this.#assignment.offsets.tellChanged();
      this.#tick();
    });
  }

  #sweep(): void {
    const { timers, clock } = this.#context.ports;
    this.#sweepTimer = timers.after(this.options.sweepIntervalMs, () => {
      this.#runner.sweep(clock.monotonic());
      this.#sweep();
    });
  }

  /** While closing: goes on when no handler is at work and nothing waits for the broker to take it back. */
  #checkIdle(): void {
    if (this.#idle === undefined || this.#runner.running > 0 || this.#handingBack > 0) return;
    this.#idle();
  }

  #leave(done: () => void): void {
    const { session } = this.#context;
    this.#unwatch?.();
    this.#watch.close();
    this.#assignment.leaveAll(() => {
      session.leaveConsumer(this.group, () => {
        this.#state = 'closed';
        this.onClosed?.();
        this.#retries.close(0, done);
      });
    });
  }
}

function isMap(topics: ConsumerSetup['topics']): topics is ReadonlyMap<string, string> {
  return typeof (topics as ReadonlyMap<string, string>).entries === 'function';
}
