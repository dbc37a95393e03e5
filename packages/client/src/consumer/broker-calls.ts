/** {@link GroupCalls} over connections: each call goes to the master that hosts the queue, or for group matters to one that hosts the topic. */
import {
  type Frame,
  PullAnswerLocator,
  PullFlag,
  RequestCode,
  ResponseCode,
  decodeConsumerList,
  decodeLockedQueues,
  encodeLockRequest,
} from '@tallystick/remoting';
import type { ClientContext } from '../context.ts';
import { type ClientError, answerError, callError, fail } from '../errors.ts';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { ConsumerOptions } from '../options.ts';
import type { Connection, Fields } from '../peers.ts';
import type { ProducerCore } from '../producer/producer-core.ts';
import type { QueueKey } from '../route/queue-key.ts';
import type { CallDone, GroupCalls, PullAnswer, PullStatus } from './group-calls.ts';
import { retryCopy } from './retry-copy.ts';
import type { Subscription } from './subscription.ts';

/** What the calls need to know of the consumer they are made for. */
export interface CallOwner {
  readonly group: string;
  readonly options: ConsumerOptions;
  /** Failures before a message is buried, as the broker is told. */
  readonly maxReconsumeTimes: number;
  subscriptionOf(topic: string): Subscription | undefined;
}

export class BrokerCalls implements GroupCalls<ReceivedMessage> {
  readonly #context: ClientContext;
  readonly #owner: CallOwner;
  /** Sends copies to the retry topic when a broker does not take a message back. */
  readonly #retries: ProducerCore;
  readonly #pullAnswer = new PullAnswerLocator();

  constructor(context: ClientContext, owner: CallOwner, retries: ProducerCore) {
    this.#context = context;
    this.#owner = owner;
    this.#retries = retries;
  }

  members(topic: string, done: CallDone<readonly string[]>): void {
    const address = this.#context.routes.get(topic)?.addresses.values().next().value;
    const none: readonly string[] = [];
    if (address === undefined) return done(fail('NO_ROUTE', topic), none);
    const fields = { consumerGroup: this.#owner.group };
    this.#ask(this.#context.peers.to(address), RequestCode.GET_CONSUMER_LIST_BY_GROUP, fields, undefined, (error, reply) => {
      if (error !== undefined) return done(error, none);
      const ids = decodeConsumerList(reply.body());
      if (typeof ids === 'string') done(fail('MALFORMED_ANSWER', ids), none);
      else done(undefined, ids);
    });
  }

  storedOffset(key: QueueKey, done: CallDone<number | undefined>): void {
    const fields = { consumerGroup: this.#owner.group, setZeroIfNotFound: false, ...this.#queueFields(key) };
    this.#askQueue(key, RequestCode.QUERY_CONSUMER_OFFSET, fields, (error, reply) => {
      if (error?.responseCode === ResponseCode.QUERY_NOT_FOUND) done(undefined, undefined);
      else if (error !== undefined) done(error, undefined);
      else this.#offsetOf(reply, done);
    });
  }

  minOffset(key: QueueKey, done: CallDone<number>): void {
    this.#askOffset(key, RequestCode.GET_MIN_OFFSET, done);
  }

  maxOffset(key: QueueKey, done: CallDone<number>): void {
    this.#askOffset(key, RequestCode.GET_MAX_OFFSET, done);
  }

  commit(key: QueueKey, offset: number, answered: boolean, done: (error: unknown) => void): void {
    const connection = this.#connectionOf(key);
    if (connection === undefined) return done(fail('NO_ROUTE', key.brokerName));
    const fields = { consumerGroup: this.#owner.group, commitOffset: offset, ...this.#queueFields(key) };
    if (answered) return this.#ask(connection, RequestCode.UPDATE_CONSUMER_OFFSET, fields, undefined, (error) => done(error));
    if (connection.peer === undefined) return done(fail('NO_CONNECTION', connection.address));
    connection.oneway(RequestCode.UPDATE_CONSUMER_OFFSET, fields);
    done(undefined);
  }

  lock(keys: readonly QueueKey[], done: CallDone<readonly QueueKey[]>): void {
    const byBroker = this.#byBroker(keys);
    const locked: QueueKey[] = [];
    let left = byBroker.size;
    let failure: ClientError | undefined;
    if (left === 0) return done(undefined, locked);
    const one = (error: ClientError | undefined, got: readonly QueueKey[]): void => {
      failure ??= error;
      locked.push(...got);
      if (--left === 0) done(locked.length > 0 ? undefined : failure, locked);
    };
    for (const of of byBroker.values()) this.#lockAt(of, one);
  }

  unlock(keys: readonly QueueKey[]): void {
    for (const of of this.#byBroker(keys).values()) {
      this.#connectionOf(of[0]!)?.oneway(RequestCode.UNLOCK_BATCH_MQ, {}, this.#lockBody(of));
    }
  }

  pull(key: QueueKey, offset: number, commitOffset: number, done: CallDone<PullAnswer>): void {
    const none = undefined as unknown as PullAnswer;
    const connection = this.#connectionOf(key);
    const subscription = this.#owner.subscriptionOf(key.topic);
    if (connection === undefined || subscription === undefined)
      return this.#later(() => done(fail('NO_ROUTE', key.brokerName), none));
    const { options } = this.#owner;
    const fields = {
      consumerGroup: this.#owner.group,
      ...this.#queueFields(key),
      queueOffset: offset,
      maxMsgNums: options.pullBatchMessages,
      sysFlag: PullFlag.SUSPEND | PullFlag.SUBSCRIPTION | (commitOffset > 0 ? PullFlag.COMMIT_OFFSET : 0),
      commitOffset,
      suspendTimeoutMillis: options.pullSuspendMs,
      subVersion: subscription.version,
      subscription: subscription.expression,
      expressionType: 'TAG',
    };
    connection.request(RequestCode.PULL_MESSAGE, fields, undefined, options.pullTimeoutMs, (error, reply) => {
      if (error !== undefined) {
        if (error.kind === 'timeout') this.#context.session.suspect(connection);
        return done(callError(error.kind, error.message), none);
      }
      const status = PULL_STATUS.get(reply.code);
      if (status === undefined) return done(answerError(reply.code, reply.remark()), none);
      this.#pulled(reply, status, connection.address, done);
    });
  }

  sendBack(message: ReceivedMessage, bury: boolean, done: (handedOn: boolean) => void): void {
    const key = { topic: message.storedTopic, brokerName: message.brokerName, queueId: message.queueId };
    const connection = this.#connectionOf(key);
    if (connection === undefined) return this.#sendCopy(message, bury, done);
    const fields = {
      offset: message.position,
      group: this.#owner.group,
      delayLevel: bury ? -1 : 0,
      originMsgId: message.id,
      originTopic: message.topic,
      unitMode: false,
      maxReconsumeTimes: this.#owner.maxReconsumeTimes,
      bname: message.brokerName,
    };
    this.#ask(connection, RequestCode.CONSUMER_SEND_MSG_BACK, fields, undefined, (error) => {
      if (error === undefined) return done(true);
      // Without an answer the broker may have taken it: a copy could come twice, not sending one could lose it here.
      this.#context.report(
        `${connection.address} did not take message ${message.id} back; a copy goes to the retry topic`,
        error,
      );
      this.#sendCopy(message, bury, done);
    });
  }

  #sendCopy(message: ReceivedMessage, bury: boolean, done: (handedOn: boolean) => void): void {
    const { record, marks } = retryCopy(message, this.#owner.group, this.#owner.maxReconsumeTimes, bury);
    this.#retries.sendMarked(record, marks, (error) => {
      if (error !== undefined) this.#context.report(`message ${message.id} could not be sent to its retry topic either`, error);
      done(error === undefined);
    });
  }

  #pulled(reply: Frame, status: PullStatus, address: string, done: CallDone<PullAnswer>): void {
    const answer = this.#pullAnswer;
    if (status === 'unregistered')
      return done(undefined, { status, nextOffset: 0, minOffset: 0, maxOffset: 0, body: EMPTY, address });
    if (!answer.locate(reply)) return done(fail('MALFORMED_ANSWER', answer.fault()), undefined as unknown as PullAnswer);
    // The frame's bytes are the connection's: one copy per answer, and messages are views of it.
    const body = status === 'found' ? Buffer.from(reply.body()) : EMPTY;
    done(undefined, {
      status,
      nextOffset: answer.nextBeginOffset(),
      minOffset: answer.minOffset(),
      maxOffset: answer.maxOffset(),
      body,
      address,
    });
  }

  #lockAt(keys: readonly QueueKey[], done: (error: ClientError | undefined, got: readonly QueueKey[]) => void): void {
    const connection = this.#connectionOf(keys[0]!);
    if (connection === undefined) return done(fail('NO_ROUTE', keys[0]!.brokerName), []);
    this.#ask(connection, RequestCode.LOCK_BATCH_MQ, {}, this.#lockBody(keys), (error, reply) => {
      if (error !== undefined) return done(error, []);
      const got = decodeLockedQueues(reply.body());
      if (typeof got === 'string') done(fail('MALFORMED_ANSWER', got), []);
      else done(undefined, got);
    });
  }

  #lockBody(keys: readonly QueueKey[]): Buffer {
    return encodeLockRequest({ consumerGroup: this.#owner.group, clientId: this.#context.session.clientId, mqSet: keys });
  }

  #byBroker(keys: readonly QueueKey[]): Map<string, QueueKey[]> {
    const byBroker = new Map<string, QueueKey[]>();
    for (const key of keys) {
      const of = byBroker.get(key.brokerName);
      if (of === undefined) byBroker.set(key.brokerName, [key]);
      else of.push(key);
    }
    return byBroker;
  }

  #askOffset(key: QueueKey, code: number, done: CallDone<number>): void {
    this.#askQueue(key, code, this.#queueFields(key), (error, reply) => {
      if (error !== undefined) done(error, 0);
      else this.#offsetOf(reply, done);
    });
  }

  #offsetOf(reply: Frame, done: CallDone<number>): void {
    const offset = Number(reply.fields().get('offset'));
    if (Number.isSafeInteger(offset)) done(undefined, offset);
    else done(fail('MALFORMED_ANSWER', 'no offset in the answer'), 0);
  }

  #queueFields(key: QueueKey): Fields {
    return { topic: key.topic, queueId: key.queueId, bname: key.brokerName };
  }

  #connectionOf(key: QueueKey): Connection | undefined {
    const address = this.#context.routes.addressOf(key.brokerName);
    return address === undefined ? undefined : this.#context.peers.to(address);
  }

  #askQueue(key: QueueKey, code: number, fields: Fields, done: (error: ClientError | undefined, reply: Frame) => void): void {
    const connection = this.#connectionOf(key);
    if (connection === undefined) return this.#later(() => done(fail('NO_ROUTE', key.brokerName), undefined as unknown as Frame));
    this.#ask(connection, code, fields, undefined, done);
  }

  #ask(
    connection: Connection,
    code: number,
    fields: Fields,
    body: Uint8Array | undefined,
    done: (error: ClientError | undefined, reply: Frame) => void,
  ): void {
    connection.request(code, fields, body, this.#context.options.requestTimeoutMs, (error, reply) => {
      if (error !== undefined) done(callError(error.kind, error.message), reply);
      else done(reply.code === ResponseCode.SUCCESS ? undefined : answerError(reply.code, reply.remark()), reply);
    });
  }

  #later(run: () => void): void {
    this.#context.ports.turn.atEnd(run);
  }
}

const EMPTY = Buffer.alloc(0);
const PULL_STATUS: ReadonlyMap<number, PullStatus> = new Map<number, PullStatus>([
  [ResponseCode.SUCCESS, 'found'],
  [ResponseCode.PULL_NOT_FOUND, 'none'],
  [ResponseCode.PULL_RETRY_IMMEDIATELY, 'unmatched'],
  [ResponseCode.PULL_OFFSET_MOVED, 'moved'],
  [ResponseCode.SUBSCRIPTION_NOT_EXIST, 'unregistered'],
  [ResponseCode.SUBSCRIPTION_NOT_LATEST, 'unregistered'],
  [ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, 'unregistered'],
]);
