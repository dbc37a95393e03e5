/**
 * A broker on a simulated machine with real connections to it over in-memory pipes: started, asked, killed, cut from power and
 * started again. Time is simulated; a call returns when its answer is there.
 */
import { pipe, type Disk, type DiskFile } from '@tallystick/base';
import {
  decodeStoredMessages,
  encodeHeartbeat,
  encodeProperties,
  Peer,
  RequestCode,
  wireFields,
  type CommandName,
  type FieldValues,
  type Frame,
  type Header,
  type PeerOptions,
  type StoredMessage,
} from '@tallystick/remoting';
import { SimDisk } from '../../../test/sim/disk.ts';
import { World, type SimProcess } from '../../../test/sim/world.ts';
import { BrokerCore, type BrokerSignals } from '../src/broker.ts';
import type { GivenBrokerOptions } from '../src/options.ts';

export interface Answer {
  readonly code: number;
  readonly remark: string | undefined;
  readonly fields: Map<string, string>;
  readonly body: Buffer;
}

/** Small files: the simulated disk keeps them in memory, twice. */
const SMALL: GivenBrokerOptions = {
  segmentBytes: 256 * 1024,
  groupBytes: 16 * 1024,
  blockBytes: 64 * 1024,
  tailBytes: 128 * 1024,
  reserveBytes: 32 * 1024,
};

/** A request that the broker sent: a check-back, a change of members. */
export interface Told {
  readonly code: number;
  readonly fields: Map<string, string>;
  readonly body: Buffer;
}

export class Stage {
  readonly world: World;
  readonly disk: SimDisk;
  readonly options: GivenBrokerOptions;
  readonly failures: string[] = [];
  readonly alarms: string[] = [];
  syncDelayMs = 0;
  /** How fast the disk takes writes of the log. */
  writeBytesPerMs = Infinity;
  /** Time in which the broker's loop stood still: its clock has moved, and nothing else has happened. */
  stalledMs = 0;
  #heldWrites: (() => void)[] | undefined;
  core!: BrokerCore;
  #process: SimProcess | undefined;
  #boots = 0;
  #clients: TestClient[] = [];

  constructor(options: GivenBrokerOptions = {}, seed = 1) {
    this.world = new World(seed);
    this.disk = new SimDisk(this.world);
    this.options = { checkAfterMs: 100, checkIntervalMs: 100, ...SMALL, ...options };
  }

  /** Starts a broker on the disk as it is; throws when it is refused. */
  start(more: GivenBrokerOptions = {}): this {
    const error = this.tryStart(more);
    if (error !== undefined) throw error;
    return this;
  }

  tryStart(more: GivenBrokerOptions = {}): Error | undefined {
    const process = this.world.process(`broker-${++this.#boots}`);
    this.#process = process;
    const signals: BrokerSignals = {
      failed: (reason) => void this.failures.push(reason),
      alarm: (sentence) => void this.alarms.push(sentence),
    };
    const { timers, turn, random } = process.ports;
    const { clock: worldClock } = process.ports;
    const clock = { now: () => worldClock.now() + this.stalledMs, monotonic: () => worldClock.monotonic() + this.stalledMs };
    this.core = new BrokerCore(
      { disk: this.#slowed(this.disk.mount(process), process), clock, timers, turn, random },
      { ...this.options, ...more },
      signals,
    );
    let result: { error: Error | undefined } | undefined;
    this.core.start((error) => {
      result = { error };
    });
    this.until(() => result !== undefined);
    return result!.error;
  }

  stop(): void {
    let stopped = false;
    this.core.stop(() => {
      stopped = true;
    });
    this.until(() => stopped);
    this.kill();
  }

  kill(): void {
    this.#heldWrites = undefined;
    this.#process?.kill();
    this.#process = undefined;
    this.#clients = [];
  }

  /** From now on writes of the log do not begin. */
  holdWrites(): void {
    this.#heldWrites ??= [];
  }

  /** Held writes begin, in order. */
  releaseWrites(): void {
    const held = this.#heldWrites ?? [];
    this.#heldWrites = undefined;
    for (const write of held) write();
  }

  /** The same disk, whose syncs begin `syncDelayMs` late and whose writes of the log may be held. */
  #slowed(disk: Disk, process: SimProcess): Disk {
    const slowFile = (file: DiskFile): DiskFile => ({
      path: file.path,
      write: (chunks, position, done) => {
        const write = (): void => file.write(chunks, position, done);
        if (this.#heldWrites !== undefined && file.path.startsWith('log/')) this.#heldWrites.push(write);
        else if (this.writeBytesPerMs === Infinity) write();
        else {
          const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
          this.world.after(bytes / this.writeBytesPerMs, write, process);
        }
      },
      read: (into, position, done) => file.read(into, position, done),
      sync: (done) => void this.world.after(this.syncDelayMs, () => file.sync(done), process),
      size: (done) => file.size(done),
      truncate: (bytes, done) => file.truncate(bytes, done),
      close: (done) => file.close(done),
    });
    return {
      open: (path, mode, done) =>
        disk.open(path, mode, (error, file) => done(error, error === undefined ? slowFile(file) : file)),
      makeFolder: (path, done) => disk.makeFolder(path, done),
      list: (path, done) => disk.list(path, done),
      rename: (from, to, done) => disk.rename(from, to, done),
      remove: (path, done) => disk.remove(path, done),
      syncFolder: (path, done) => disk.syncFolder(path, done),
      bootId: () => disk.bootId(),
    };
  }

  /** Kills the broker, loses what was not synced, starts it again. */
  powerCut(): this {
    this.kill();
    this.disk.powerCut(0);
    return this.start();
  }

  restart(): this {
    this.kill();
    return this.start();
  }

  client(name = `client-${this.#clients.length}`, options: PeerOptions = {}, remote = 'pipe:a'): TestClient {
    const client = new TestClient(this, name, options, remote);
    this.#clients.push(client);
    return client;
  }

  until(done: () => boolean, limitMs = 60_000): void {
    if (!this.world.runUntil(done, limitMs)) throw new Error(`still waiting after ${limitMs} simulated ms`);
  }

  run(ms: number): void {
    this.world.runFor(ms);
  }
}

export class TestClient {
  readonly name: string;
  readonly stage: Stage;
  readonly peer: Peer;
  readonly told: Told[] = [];
  closed: string | undefined;

  constructor(stage: Stage, name: string, options: PeerOptions, remote: string) {
    this.stage = stage;
    this.name = name;
    const { ports } = stage.world.process(name);
    const [ours, theirs] = pipe(ports.turn, [remote, 'broker']);
    this.peer = new Peer(
      ours,
      ports,
      { requestTimeoutMs: 60_000, ...options },
      {
        onRequest: (_peer, frame) =>
          void this.told.push({ code: frame.code, fields: frame.fields(), body: Buffer.from(frame.body()) }),
        onClose: (_peer, reason) => {
          this.closed = reason;
        },
      },
    );
    stage.core.accept(theirs);
  }

  /** Asks and waits for the answer. */
  call<N extends CommandName>(name: N, header: Header<N>, body?: Uint8Array): Answer {
    return this.raw(RequestCode[name], wireFields(name, header), body);
  }

  raw(code: number, fields: FieldValues | undefined, body?: Uint8Array): Answer {
    const waiting = this.ask(code, fields, body);
    this.stage.until(() => waiting.answer !== undefined || waiting.error !== undefined);
    if (waiting.answer === undefined) throw new Error(`no answer to ${code}: ${waiting.error}`);
    return waiting.answer;
  }

  /** Asks and does not wait. */
  ask(code: number, fields: FieldValues | undefined, body?: Uint8Array): { answer?: Answer; error?: string } {
    const waiting: { answer?: Answer; error?: string } = {};
    this.peer.request(code, fields, body, undefined, (error, reply) => {
      if (error !== undefined) waiting.error = `${error.kind}: ${error.message}`;
      else waiting.answer = answerOf(reply);
    });
    return waiting;
  }

  begin<N extends CommandName>(name: N, header: Header<N>, body?: Uint8Array): { answer?: Answer; error?: string } {
    return this.ask(RequestCode[name], wireFields(name, header), body);
  }

  oneway<N extends CommandName>(name: N, header: Header<N>, body?: Uint8Array): void {
    this.peer.oneway(RequestCode[name], wireFields(name, header), body);
    this.stage.run(20);
  }

  sendHeader(
    topic: string,
    more: Partial<Header<'SEND_MESSAGE_V2'>> & { readonly props?: Record<string, string> } = {},
  ): Header<'SEND_MESSAGE_V2'> {
    const { props, ...rest } = more;
    return {
      producerGroup: 'producers',
      topic,
      defaultTopic: 'TBW102',
      defaultTopicQueueNums: 4,
      queueId: 0,
      sysFlag: 0,
      bornTimestamp: 1_700_000_000_000,
      flag: 0,
      properties: encodeProperties(Object.entries(props ?? {})).toString('utf8'),
      ...rest,
    };
  }

  send(
    topic: string,
    body: string,
    more: Partial<Header<'SEND_MESSAGE_V2'>> & { readonly props?: Record<string, string> } = {},
  ): Answer {
    return this.call('SEND_MESSAGE_V2', this.sendHeader(topic, more), Buffer.from(body));
  }

  /** Sends a half message; the answer names where it lies. */
  half(topic: string, body: string, id: string, group = 'pay'): Half {
    const waiting = this.beginHalf(topic, body, id, group);
    this.stage.until(() => waiting.answer !== undefined || waiting.error !== undefined);
    if (waiting.answer === undefined) throw new Error(`no answer to a half: ${waiting.error}`);
    return halfOf(waiting.answer, id, group);
  }

  /** Sends a half message and does not wait. */
  beginHalf(topic: string, body: string, id: string, group = 'pay'): { answer?: Answer; error?: string } {
    const props = { TRAN_MSG: 'true', PGROUP: group, UNIQ_KEY: id };
    return this.begin('SEND_MESSAGE_V2', this.sendHeader(topic, { sysFlag: 4, producerGroup: group, props }), Buffer.from(body));
  }

  end(
    half: Half,
    verdict: 'commit' | 'rollback' | 'unknown',
    more: Partial<Header<'END_TRANSACTION'>> = {},
  ): Header<'END_TRANSACTION'> {
    return {
      producerGroup: half.group,
      tranStateTableOffset: half.offset,
      commitLogOffset: half.position,
      commitOrRollback: verdict === 'commit' ? 8 : verdict === 'rollback' ? 12 : 0,
      msgId: half.id,
      transactionId: half.id,
      ...more,
    };
  }

  pullHeader(topic: string, offset: number, more: Partial<Header<'PULL_MESSAGE'>> = {}): Header<'PULL_MESSAGE'> {
    return {
      consumerGroup: 'readers',
      topic,
      queueId: 0,
      queueOffset: offset,
      maxMsgNums: 32,
      sysFlag: 4,
      commitOffset: 0,
      suspendTimeoutMillis: 15_000,
      subVersion: 0,
      subscription: '*',
      ...more,
    };
  }

  pull(topic: string, offset: number, more: Partial<Header<'PULL_MESSAGE'>> = {}): Answer {
    return this.call('PULL_MESSAGE', this.pullHeader(topic, offset, more));
  }

  /** All messages of a queue. */
  read(topic: string, queueId = 0): StoredMessage[] {
    const messages: StoredMessage[] = [];
    for (let offset = 0; ;) {
      const answer = this.pull(topic, offset, { queueId });
      if (answer.code !== 0) return messages;
      messages.push(...messagesOf(answer));
      offset = Number(answer.fields.get('nextBeginOffset'));
    }
  }

  bodies(topic: string, queueId = 0): string[] {
    return this.read(topic, queueId).map((message) => message.body.toString());
  }

  heartbeat(data: {
    readonly producers?: readonly string[];
    readonly consumers?: readonly string[];
    readonly topic?: string;
    readonly expression?: string;
    readonly clientId?: string;
    readonly model?: string;
  }): Answer {
    const body = encodeHeartbeat({
      clientID: data.clientId ?? this.name,
      producerDataSet: (data.producers ?? []).map((groupName) => ({ groupName })),
      consumerDataSet: (data.consumers ?? []).map((groupName) => ({
        groupName,
        consumeType: 'CONSUME_PASSIVELY',
        messageModel: data.model ?? 'CLUSTERING',
        consumeFromWhere: 'CONSUME_FROM_LAST_OFFSET',
        subscriptionDataSet: [
          {
            topic: data.topic ?? 'orders',
            subString: data.expression ?? '*',
            expressionType: 'TAG',
            tagsSet: [],
            codeSet: [],
            subVersion: 1,
            classFilterMode: false,
          },
        ],
        unitMode: false,
      })),
      heartbeatFingerprint: 0,
      withoutSub: false,
    });
    return this.raw(RequestCode.HEART_BEAT, undefined, body);
  }
}

export interface Half {
  readonly id: string;
  readonly group: string;
  readonly offset: number;
  readonly position: number;
}

/** The half that an answer is about. */
export function halfOf(answer: Answer, id: string, group = 'pay'): Half {
  if (answer.code !== 0) throw new Error(`half refused: ${answer.code} ${answer.remark}`);
  return {
    id,
    group,
    offset: Number(answer.fields.get('queueOffset')),
    position: Number.parseInt(answer.fields.get('msgId')!.slice(16), 16),
  };
}

export function messagesOf(answer: Answer): StoredMessage[] {
  const messages = decodeStoredMessages(Buffer.from(answer.body));
  if (typeof messages === 'string') throw new Error(messages);
  return messages;
}

function answerOf(reply: Frame): Answer {
  return { code: reply.code, remark: reply.remark(), fields: reply.fields(), body: Buffer.from(reply.body()) };
}
