/**
 * A scripted broker for tests: name server and broker on one in-memory address, speaking through a real Peer on manual time. It keeps what
 * it was sent, answers what a broker answers, and does what a script says instead: be busy, be silent, cut the line.
 */
import { type Wire, pipe } from '@tallystick/base';
import { ManualTime, seededRandom } from '@tallystick/base/testing';
import {
  type BrokerData,
  type Frame,
  Peer,
  RequestCode,
  ResponseCode,
  SendLocator,
  decodeHeartbeat,
  decodeLockRequest,
  decodeProperties,
  encodeClusterInfo,
  encodeConsumerList,
  encodeLockedQueues,
  encodeProperties,
  encodeStoredMessage,
  encodedSize,
  encodeTopicRoute,
} from '@tallystick/remoting';
import { ClientCore, type ClientCoreOptions } from '../src/client-core.ts';

/** One message as it arrived, alone or as part of a batch. */
export interface Arrived {
  readonly code: number;
  readonly topic: string;
  readonly queueId: number;
  readonly group: string;
  readonly sysFlag: number;
  readonly born: number;
  readonly body: string;
  readonly raw: Buffer;
  readonly properties: Map<string, string>;
  readonly reconsumeTimes: number;
}

/** What a script may say to a request: answer as usual, an answer code, nothing, an answer when `late` is called, an answer without fields, or cut the connection. */
export type Reaction =
  'ok' | 'silent' | 'late' | 'garbled' | 'cut' | { readonly code: number; readonly remark?: string; readonly reason?: string };

export interface Stored {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  readonly body: Buffer;
  readonly properties: Record<string, string>;
  readonly sysFlag?: number | undefined;
  readonly reconsumeTimes?: number | undefined;
}

/** One request of any kind. */
export interface Asked {
  readonly code: number;
  readonly fields: Map<string, string>;
  readonly body: Buffer;
  readonly oneway: boolean;
  readonly connection: number;
}

export class FakeBroker {
  readonly time: ManualTime;
  readonly address: string;
  readonly name: string;
  /** Queues per topic; a topic that is not here has no route. */
  readonly topics = new Map<string, number>();
  readonly arrived: Arrived[] = [];
  /** Codes and sizes of send requests: `310`, `320x3`. */
  readonly sends: string[] = [];
  readonly asked: Asked[] = [];
  readonly peers: Peer[] = [];
  /** Committed offsets by `topic queueId`. */
  readonly offsets = new Map<string, number>();
  readonly log: Stored[] = [];
  members: string[] = [];
  /** The answers to sends that a script wants late: to be called. */
  readonly late: (() => void)[] = [];
  refuses = false;
  /** Whether it says that it honours the numbers of requests. */
  deduplicates = false;
  /** Whether it answers for the list of all brokers. */
  listsCluster = false;
  /** Called for each request before it is answered. */
  script: (code: number, ask: Asked) => Reaction = () => 'ok';
  /** Other brokers to name in routes. */
  others: FakeBroker[] = [];
  lockGrants: (queueId: number) => boolean = () => true;
  readonly #wires: Wire[] = [];
  readonly #send = new SendLocator();
  readonly #heldPulls: { readonly peer: Peer; readonly frame: ReturnType<Frame['ref']>; readonly fields: Map<string, string> }[] =
    [];

  constructor(time: ManualTime, address = '10.0.0.1:9876', name = 'broker-a') {
    this.time = time;
    this.address = address;
    this.name = name;
  }

  accept(wire: Wire): void {
    const connection = this.peers.length;
    const peer = new Peer(
      wire,
      { clock: this.time, timers: this.time, turn: this.time },
      {},
      {
        onRequest: (_, frame) => this.#asked(peer, frame, connection),
        onClose: () => {},
      },
    );
    this.peers.push(peer);
    this.#wires.push(wire);
  }

  /** Cuts all connections; answers on their way are lost. */
  cut(): void {
    for (const wire of this.#wires.splice(0)) wire.close(false);
  }

  /** Puts a message into a queue, and answers pulls that wait. */
  store(message: Omit<Stored, 'offset'>): number {
    const offset = this.log.filter(({ topic, queueId }) => topic === message.topic && queueId === message.queueId).length;
    this.log.push({ ...message, offset });
    for (const pull of this.#heldPulls.splice(0)) this.#pull(pull.peer, pull.frame, pull.fields);
    return offset;
  }

  asks(code: number): Asked[] {
    return this.asked.filter((ask) => ask.code === code);
  }

  #asked(peer: Peer, frame: Frame, connection: number): void {
    const ask: Asked = {
      code: frame.code,
      fields: frame.fields(),
      body: Buffer.from(frame.body()),
      oneway: frame.isOneway,
      connection,
    };
    this.asked.push(ask);
    const reaction = this.script(frame.code, ask);
    const isSend = frame.code === RequestCode.SEND_MESSAGE_V2 || frame.code === RequestCode.SEND_BATCH_MESSAGE;
    const count = isSend ? this.#take(frame) : 0;
    if (reaction === 'silent') return;
    if (reaction === 'late') {
      const ref = frame.ref();
      const fields = { msgId: `0A00000100002694${'0'.repeat(16)}`, queueId: ask.fields.get('e'), queueOffset: 0 };
      return void this.late.push(() => peer.answer(ref, 0, undefined, fields));
    }
    if (reaction === 'garbled') return peer.answer(frame.ref(), 0);
    if (reaction === 'cut') return peer.close(false);
    if (reaction !== 'ok' && !isSend) return peer.answer(frame.ref(), reaction.code, reaction.remark);
    if (reaction !== 'ok' && reaction.reason !== undefined)
      return peer.answer(frame.ref(), reaction.code, reaction.remark, { TS_REASON: reaction.reason });
    if (isSend)
      return this.#answerSend(
        peer,
        frame,
        count,
        reaction === 'ok' ? 0 : reaction.code,
        reaction === 'ok' ? undefined : reaction.remark,
      );
    this.#answer(peer, frame, ask);
  }

  #answer(peer: Peer, frame: Frame, ask: Asked): void {
    const ref = frame.ref();
    const { fields, body } = ask;
    const topic = fields.get('topic') ?? '';
    const place = `${topic} ${fields.get('queueId')}`;
    switch (frame.code) {
      case RequestCode.GET_ROUTEINFO_BY_TOPIC: {
        const queues = this.topics.get(topic);
        if (queues === undefined) return peer.answer(ref, ResponseCode.TOPIC_NOT_EXIST, `no route of ${topic}`);
        return peer.answer(ref, 0, undefined, {}, this.#route(queues));
      }
      case RequestCode.GET_BROKER_CLUSTER_INFO:
        if (!this.listsCluster) return peer.answer(ref, ResponseCode.REQUEST_CODE_NOT_SUPPORTED);
        return peer.answer(ref, 0, undefined, {}, encodeClusterInfo({ brokers: this.#brokerDatas() }));
      case RequestCode.HEART_BEAT: {
        const heartbeat = decodeHeartbeat(body);
        if (typeof heartbeat !== 'string' && heartbeat.consumerDataSet.length > 0 && !this.members.includes(heartbeat.clientID))
          this.members.push(heartbeat.clientID);
        for (const { groupName } of typeof heartbeat === 'string' ? [] : heartbeat.consumerDataSet)
          this.topics.set(`%RETRY%${groupName}`, 1);
        return peer.answer(ref, 0, undefined, this.deduplicates ? { TS_DEDUP: 1 } : {});
      }
      case RequestCode.GET_CONSUMER_LIST_BY_GROUP:
        return peer.answer(ref, 0, undefined, {}, encodeConsumerList(this.members));
      case RequestCode.QUERY_CONSUMER_OFFSET: {
        const offset = this.offsets.get(place);
        return offset === undefined
          ? peer.answer(ref, ResponseCode.QUERY_NOT_FOUND, 'none')
          : peer.answer(ref, 0, undefined, { offset });
      }
      case RequestCode.UPDATE_CONSUMER_OFFSET:
        this.offsets.set(place, Number(fields.get('commitOffset')));
        return peer.answer(ref, 0);
      case RequestCode.GET_MAX_OFFSET:
        return peer.answer(ref, 0, undefined, { offset: this.#queue(topic, Number(fields.get('queueId'))).length });
      case RequestCode.GET_MIN_OFFSET:
        return peer.answer(ref, 0, undefined, { offset: 0 });
      case RequestCode.LOCK_BATCH_MQ: {
        const request = decodeLockRequest(body);
        const queues = typeof request === 'string' ? [] : request.mqSet.filter(({ queueId }) => this.lockGrants(queueId));
        return peer.answer(ref, 0, undefined, {}, encodeLockedQueues(queues));
      }
      case RequestCode.PULL_MESSAGE:
        return this.#pull(peer, ref, fields);
      case RequestCode.UNLOCK_BATCH_MQ:
      case RequestCode.UNREGISTER_CLIENT:
      case RequestCode.CONSUMER_SEND_MSG_BACK:
      case RequestCode.END_TRANSACTION:
        return peer.answer(ref, 0);
      default:
        return peer.answer(ref, ResponseCode.REQUEST_CODE_NOT_SUPPORTED, ` request type ${frame.code} not supported`);
    }
  }

  #route(queues: number): Buffer {
    return encodeTopicRoute({
      brokerDatas: this.#brokerDatas(),
      queueDatas: [this, ...this.others].map(({ name }) => ({
        brokerName: name,
        readQueueNums: queues,
        writeQueueNums: queues,
        perm: 6,
        topicSysFlag: 0,
      })),
    });
  }

  #brokerDatas(): BrokerData[] {
    const brokers: FakeBroker[] = [this, ...this.others];
    return brokers.map(({ name, address }) => ({ cluster: 'c', brokerName: name, brokerAddrs: new Map([['0', address]]) }));
  }

  #queue(topic: string, queueId: number): Stored[] {
    return this.log.filter((message) => message.topic === topic && message.queueId === queueId);
  }

  #pull(peer: Peer, ref: ReturnType<Frame['ref']>, fields: Map<string, string>): void {
    const topic = fields.get('topic')!;
    const queueId = Number(fields.get('queueId'));
    const from = Number(fields.get('queueOffset'));
    const queue = this.#queue(topic, queueId);
    const found = queue.filter(({ offset }) => offset >= from).slice(0, Number(fields.get('maxMsgNums')));
    const said = { suggestWhichBrokerId: 0, minOffset: 0, maxOffset: queue.length };
    if (from > queue.length)
      return peer.answer(ref, ResponseCode.PULL_OFFSET_MOVED, 'OFFSET_OVERFLOW_BADLY', {
        ...said,
        nextBeginOffset: queue.length,
      });
    if (found.length === 0) return void this.#heldPulls.push({ peer, frame: ref, fields });
    const next = found.at(-1)!.offset + 1;
    peer.answer(ref, 0, 'FOUND', { ...said, nextBeginOffset: next }, Buffer.concat(found.map((message) => record(message))));
  }

  /** Notes the messages of a send request; their number. */
  #take(frame: Frame): number {
    const send = this.#send;
    if (!send.locate(frame)) throw new Error(`send header: ${send.fault()}`);
    const head = {
      code: frame.code,
      topic: send.topic(),
      queueId: send.queueId(),
      group: send.producerGroup(),
      sysFlag: send.sysFlag(),
      born: send.bornTimestamp(),
      reconsumeTimes: send.reconsumeTimes(),
    };
    const body = Buffer.from(frame.body());
    if (frame.code === RequestCode.SEND_MESSAGE_V2) {
      const properties = decodeProperties(send.propertiesBytes, send.propertiesStart, send.propertiesEnd);
      this.arrived.push({ ...head, body: body.toString(), raw: body, properties });
      this.sends.push('310');
      return 1;
    }
    let count = 0;
    for (let at = 0; at < body.length; at += body.readInt32BE(at)) {
      const bodyEnd = at + 20 + body.readInt32BE(at + 16);
      const raw = body.subarray(at + 20, bodyEnd);
      const properties = decodeProperties(body, bodyEnd + 2, bodyEnd + 2 + body.readUInt16BE(bodyEnd));
      this.arrived.push({ ...head, body: raw.toString(), raw, properties });
      count++;
    }
    this.sends.push(`320x${count}`);
    return count;
  }

  #answerSend(peer: Peer, frame: Frame, count: number, code: number, remark: string | undefined): void {
    if (code !== 0 && (code < 10 || code > 12)) return peer.answer(frame.ref(), code, remark);
    const first = this.arrived.length - count;
    const ids = Array.from(
      { length: count },
      (_, n) => `0A00000100002694${(first + n).toString(16).toUpperCase().padStart(16, '0')}`,
    );
    const queueId = Number(frame.fields().get('e'));
    peer.answer(frame.ref(), code, remark, { msgId: ids.join(','), queueId, queueOffset: first });
  }
}

/** The stored record of a message. */
export function record(message: Stored): Buffer {
  const stored = {
    topic: message.topic,
    queueId: message.queueId,
    flag: 0,
    queueOffset: message.offset,
    physicalOffset: 1000 + message.offset,
    sysFlag: message.sysFlag ?? 0,
    bornTimestamp: 1_700_000_000_000,
    bornHost: '10.0.0.9:1',
    storeTimestamp: 1_700_000_000_001,
    storeHost: '10.0.0.1:9876',
    reconsumeTimes: message.reconsumeTimes ?? 0,
    preparedTransactionOffset: 0,
    body: message.body,
    properties: encodeProperties(Object.entries(message.properties)),
  };
  const bytes = Buffer.alloc(encodedSize(stored));
  encodeStoredMessage(stored, bytes, 0);
  return bytes;
}

/** Fake brokers on one manual time, and a client that can dial them. */
export class Stage {
  readonly time = new ManualTime();
  readonly broker = new FakeBroker(this.time);
  readonly brokers = new Map<string, FakeBroker>([[this.broker.address, this.broker]]);
  readonly reports: string[] = [];
  dials = 0;

  /** A second broker, named in the first one's routes. */
  addBroker(address: string, name: string): FakeBroker {
    const other = new FakeBroker(this.time, address, name);
    this.brokers.set(address, other);
    this.broker.others.push(other);
    return other;
  }

  client(options: Partial<ClientCoreOptions> = {}): ClientCore {
    const { time } = this;
    const dialer = {
      dial: (address: string, done: (error: string | undefined, wire: Wire) => void) => {
        time.atEnd(() => {
          this.dials++;
          const broker = this.brokers.get(address);
          if (broker === undefined || broker.refuses) return done('connection refused', undefined as unknown as Wire);
          const [ours, theirs] = pipe(time, ['client', address]);
          broker.accept(theirs);
          done(undefined, ours);
        });
      },
    };
    const ports = { clock: time, timers: time, turn: time, random: seededRandom(7), dialer };
    return new ClientCore(ports, {
      address: this.broker.address,
      clientId: 'me',
      onReport: (sentence) => this.reports.push(sentence),
      ...options,
    });
  }
}
