/** What tools ask of name servers and brokers: topics, and everything in a topic. Each call goes to all brokers that it concerns. */
import {
  type Frame,
  PullAnswerLocator,
  PullFlag,
  RequestCode,
  ResponseCode,
  decodeTopicList,
  viewStoredMessage,
} from '@tallystick/remoting';
import type { ClientContext } from '../context.ts';
import { type ClientError, answerError, callError, fail } from '../errors.ts';
import { ReceivedMessage } from '../message/received-message.ts';
import type { Fields } from '../peers.ts';
import type { QueueKey } from '../route/queue-key.ts';
import type { TopicRoute } from '../route/topic-route.ts';

export type AdminDone<T> = (error: ClientError | undefined, value: T) => void;

/** What a topic may be told beside its number of queues; what is left out stays as it is. */
export interface TopicSettings {
  /** `created`: messages bear the time that their sender gives (the default). `appended`: the time at which the broker took them in. */
  readonly timestamps?: 'created' | 'appended' | undefined;
}

/** Kafka's names, which the broker knows. */
const TIMESTAMP_TYPES = { created: 'CreateTime', appended: 'LogAppendTime' } as const;

const READ_WRITE = 6;
const READ_GROUP = 'TALLYSTICK_ADMIN';
const READ_MESSAGES = 1024;
const INFLATED_BYTES_MAX = 64 * 1024 * 1024;

export class AdminCore {
  readonly #context: ClientContext;
  readonly #pullAnswer = new PullAnswerLocator();

  constructor(context: ClientContext) {
    this.#context = context;
  }

  /** Makes a topic, or changes its number of queues and whose time its messages bear, on every broker. */
  createTopic(topic: string, queues: number, { timestamps }: TopicSettings, done: AdminDone<undefined>): void {
    const fields = {
      topic,
      defaultTopic: 'TBW102',
      readQueueNums: queues,
      writeQueueNums: queues,
      perm: READ_WRITE,
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: 0,
      order: false,
      ...(timestamps === undefined ? {} : { attributes: `+message.timestamp.type=${TIMESTAMP_TYPES[timestamps]}` }),
    };
    this.#context.names.brokers((error, addresses) => {
      if (error !== undefined) return done(error, undefined);
      let left = addresses.length;
      let failure: ClientError | undefined;
      for (const address of addresses) {
        this.#ask(address, RequestCode.UPDATE_AND_CREATE_TOPIC, fields, (failed) => {
          failure ??= failed;
          if (--left === 0) done(failure, undefined);
        });
      }
    });
  }

  /** Names of all topics, system topics included. */
  topicList(done: AdminDone<readonly string[]>): void {
    this.#context.names.ask(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, {}, (error, reply) => {
      if (error !== undefined) return done(error, []);
      const topics = decodeTopicList(reply.body());
      if (typeof topics === 'string') done(fail('MALFORMED_ANSWER', topics), []);
      else done(undefined, topics);
    });
  }

  /** The route of an existing topic. */
  route(topic: string, done: AdminDone<TopicRoute>): void {
    this.#context.names.route(topic, 0, done);
  }

  /** Everything that lies in a topic now, queue by queue, without a consumer group and without leaving a trace. */
  readAll(topic: string, done: AdminDone<readonly ReceivedMessage[]>): void {
    this.route(topic, (error, route) => {
      if (error !== undefined) return done(error, []);
      const messages: ReceivedMessage[] = [];
      const queues = [...route.readQueues];
      const next = (failure: ClientError | undefined): void => {
        const key = failure === undefined ? queues.shift() : undefined;
        if (key === undefined) done(failure, messages);
        else this.#readQueue(route.addresses.get(key.brokerName) ?? '', key, messages, next);
      };
      next(undefined);
    });
  }

  #readQueue(address: string, key: QueueKey, into: ReceivedMessage[], done: (error: ClientError | undefined) => void): void {
    const fields = { topic: key.topic, queueId: key.queueId, bname: key.brokerName };
    this.#ask(address, RequestCode.GET_MAX_OFFSET, fields, (error, reply) => {
      if (error !== undefined) return done(error);
      const end = Number(reply.fields().get('offset'));
      this.#ask(address, RequestCode.GET_MIN_OFFSET, fields, (minError, minReply) => {
        if (minError !== undefined) return done(minError);
        this.#readFrom(address, key, Number(minReply.fields().get('offset')), end, into, done);
      });
    });
  }

  #readFrom(
    address: string,
    key: QueueKey,
    offset: number,
    end: number,
    into: ReceivedMessage[],
    done: (error: ClientError | undefined) => void,
  ): void {
    if (!(offset < end)) return done(undefined);
    const fields = {
      consumerGroup: READ_GROUP,
      topic: key.topic,
      queueId: key.queueId,
      queueOffset: offset,
      maxMsgNums: READ_MESSAGES,
      sysFlag: PullFlag.SUBSCRIPTION,
      commitOffset: 0,
      suspendTimeoutMillis: 0,
      subVersion: 0,
      subscription: '*',
      expressionType: 'TAG',
      bname: key.brokerName,
    };
    this.#request(address, RequestCode.PULL_MESSAGE, fields, (error, reply) => {
      if (error !== undefined) return done(error);
      const answer = this.#pullAnswer;
      if (reply.code !== ResponseCode.SUCCESS && reply.code !== ResponseCode.PULL_RETRY_IMMEDIATELY)
        return done(answerError(reply.code, reply.remark()));
      if (!answer.locate(reply)) return done(fail('MALFORMED_ANSWER', answer.fault()));
      const next = answer.nextBeginOffset();
      const fault = reply.code === ResponseCode.SUCCESS ? take(Buffer.from(reply.body()), key.brokerName, end, into) : undefined;
      if (fault !== undefined || next <= offset)
        return done(fail('MALFORMED_ANSWER', fault ?? `nothing at offset ${offset} of ${end}`));
      this.#readFrom(address, key, next, end, into, done);
    });
  }

  /** A request whose answers other than 0 are errors. */
  #ask(address: string, code: number, fields: Fields, done: (error: ClientError | undefined, reply: Frame) => void): void {
    this.#request(address, code, fields, (error, reply) => {
      if (error !== undefined) done(error, reply);
      else done(reply.code === ResponseCode.SUCCESS ? undefined : answerError(reply.code, reply.remark()), reply);
    });
  }

  #request(address: string, code: number, fields: Fields, done: (error: ClientError | undefined, reply: Frame) => void): void {
    this.#context.peers.to(address).request(code, fields, undefined, this.#context.options.requestTimeoutMs, (error, reply) => {
      done(error === undefined ? undefined : callError(error.kind, error.message), reply);
    });
  }
}

/** Adds the messages of a pull's body below offset `end`; a sentence when one cannot be read. */
function take(body: Buffer, brokerName: string, end: number, into: ReceivedMessage[]): string | undefined {
  for (let at = 0; at < body.length;) {
    const stored = viewStoredMessage(body, at, body.length);
    if (typeof stored === 'string') return stored;
    at = stored.end;
    if (stored.queueOffset < end) into.push(new ReceivedMessage(stored, brokerName, INFLATED_BYTES_MAX));
  }
  return undefined;
}
