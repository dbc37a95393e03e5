/**
 * A simulated machine with one store on its disk: opened, filled, killed, cut from power and opened again at will. All waiting is
 * simulated time.
 */
import { encodeProperties } from '@tallystick/remoting';
import { SimDisk } from '../../../../test/sim/disk.ts';
import { World, type SimProcess } from '../../../../test/sim/world.ts';
import { AppendMessage } from '../../src/store/append-message.ts';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import { RecordView } from '../../src/store/record-view.ts';
import {
  sinkOf,
  type AckLevel,
  type AppendOutcome,
  type Derived,
  type ReadRequest,
  type ReadResult,
  type RecoveryReport,
  type StoreError,
  type StoreSettings,
} from '../../src/store/store-types.ts';
import { Store } from '../../src/store/store.ts';

/** Small enough that every limit is met within a few dozen messages. */
export const SMALL: GivenStoreOptions = {
  segmentBytes: 16 * 1024,
  groupBytes: 2 * 1024,
  blockBytes: 4 * 1024,
  tailBytes: 8 * 1024,
  reserveBytes: 8 * 1024,
  spanBytes: 4 * 1024,
  spanCacheBytes: 16 * 1024,
  indexCacheBlocks: 4,
};

/** What became of one append. */
export interface Outcome {
  outcome: AppendOutcome | 'waiting';
  position: number;
  queueOffset: number;
}

export class Machine {
  readonly world: World;
  readonly disk: SimDisk;
  readonly options: GivenStoreOptions;
  readonly settings: StoreSettings;
  readonly makeDerived: () => readonly Derived[];
  process: SimProcess | undefined;
  store!: Store;
  readonly arrived: { topic: string; queueId: number; maxOffset: number }[] = [];
  readonly failures: string[] = [];
  readonly fullSignals: boolean[] = [];
  readonly shortOfFiles: string[] = [];
  readonly movedAside: string[] = [];
  #boots = 0;

  constructor(
    seed: number,
    options: GivenStoreOptions = {},
    settings: StoreSettings = {},
    makeDerived: () => readonly Derived[] = () => [],
  ) {
    this.world = new World(seed);
    this.disk = new SimDisk(this.world);
    this.options = { ...SMALL, ...options };
    this.settings = settings;
    this.makeDerived = makeDerived;
  }

  /** Starts a process with a store and begins to open it. */
  begin(done: (error: StoreError | undefined, report: RecoveryReport) => void): void {
    const process = this.world.process(`broker-${++this.#boots}`);
    this.process = process;
    const { clock, timers, turn, random } = process.ports;
    const signals = {
      arrived: (queue: { topic: string; queueId: number }, maxOffset: number) =>
        void this.arrived.push({ topic: queue.topic, queueId: queue.queueId, maxOffset }),
      failed: (reason: string) => void this.failures.push(reason),
      full: (isFull: boolean) => void this.fullSignals.push(isFull),
      shortOfFiles: (sentence: string) => void this.shortOfFiles.push(sentence),
      movedAside: (sentence: string) => void this.movedAside.push(sentence),
    };
    this.store = new Store(
      { disk: this.disk.mount(process), clock, timers, turn, random },
      this.options,
      this.settings,
      signals,
      this.makeDerived(),
    );
    this.store.open(done);
  }

  open(): RecoveryReport {
    const { error, report } = this.tryOpen();
    if (error !== undefined) throw error;
    return report!;
  }

  tryOpen(): { error: StoreError | undefined; report: RecoveryReport | undefined } {
    let result: { error: StoreError | undefined; report: RecoveryReport | undefined } | undefined;
    this.begin((error, report) => {
      result = { error, report };
    });
    this.until(() => result !== undefined);
    return result!;
  }

  close(): void {
    let result: { error: StoreError | undefined } | undefined;
    this.store.close((error) => {
      result = { error };
    });
    this.until(() => result !== undefined);
    if (result!.error !== undefined) throw result!.error;
    this.kill();
  }

  /** The process dies; the page cache lives. */
  kill(): void {
    this.process?.kill();
    this.process = undefined;
  }

  /** The machine dies. `keep` is the chance of each unsynced sector. */
  powerCut(keep?: number): void {
    this.kill();
    this.disk.powerCut(keep);
  }

  /** Lets simulated time pass until `done`; throws when nothing more can happen. */
  until(done: () => boolean, limitMs = 120_000): void {
    if (!this.world.runUntil(done, limitMs)) throw new Error(`still waiting after ${limitMs} simulated ms`);
  }

  run(ms: number): void {
    this.world.runFor(ms);
  }

  append(
    topic: string,
    queueId: number,
    body: string,
    more: { level?: AckLevel; tag?: string; mayUseReserve?: boolean } = {},
  ): Outcome {
    const result: Outcome = { outcome: 'waiting', position: -1, queueOffset: -1 };
    const m = messageOf(this.store, topic, queueId, body, more.tag);
    m.mayUseReserve = more.mayUseReserve ?? false;
    const sink = sinkOf((outcome) => {
      result.outcome = outcome;
    });
    if (this.store.append(m, more.level ?? 'flush', sink, 0)) {
      result.position = m.position;
      result.queueOffset = m.queueOffset;
    }
    return result;
  }

  control(type: number, body: string, level: AckLevel = 'flush'): Outcome {
    const result: Outcome = { outcome: 'waiting', position: -1, queueOffset: -1 };
    const sink = sinkOf((outcome) => {
      result.outcome = outcome;
    });
    result.position = this.store.appendControl(type, 1, Buffer.from(body), level, sink, 0);
    return result;
  }

  /** Appends and waits for the outcome. */
  put(
    topic: string,
    queueId: number,
    body: string,
    more: { level?: AckLevel; tag?: string; mayUseReserve?: boolean } = {},
  ): Outcome {
    const result = this.append(topic, queueId, body, more);
    this.until(() => result.outcome !== 'waiting');
    return result;
  }

  read(
    topic: string,
    queueId: number,
    offset: number,
    more: Partial<ReadRequest> = {},
  ): { result: ReadResult; messages: Message[] } {
    let answer: { result: ReadResult; messages: Message[] } | undefined;
    const queue = this.store.queue(topic, queueId);
    this.store.read({ queue, offset, maxCount: 32, maxBytes: 64 * 1024, ...more }, (result) => {
      answer = { result, messages: messagesIn(result.chunks) };
    });
    this.until(() => answer !== undefined);
    return answer!;
  }

  /** Every message of a queue, from its first. */
  readAll(topic: string, queueId: number): Message[] {
    const all: Message[] = [];
    let offset = this.store.queue(topic, queueId).minOffset;
    for (;;) {
      const { result, messages } = this.read(topic, queueId, offset);
      if (result.status === 'error') throw new Error(result.reason);
      if (result.status !== 'found') return all;
      all.push(...messages);
      offset = result.nextOffset;
    }
  }

  record(position: number): { error: string | undefined; message: Message | undefined } {
    let answer: { error: string | undefined; message: Message | undefined } | undefined;
    this.store.readRecord(position, (error, bytes) => {
      answer = { error, message: error === undefined ? messagesIn([bytes])[0] : undefined };
    });
    this.until(() => answer !== undefined);
    return answer!;
  }
}

export interface Message {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  readonly position: number;
  readonly body: string;
  readonly storeTimestamp: number;
}

export function messageOf(store: Store, topic: string, queueId: number, body: string, tag?: string): AppendMessage {
  const m = new AppendMessage();
  m.queue = store.queue(topic, queueId);
  m.bornTimestamp = 1_700_000_000_000;
  m.setBody(Buffer.from(body));
  if (tag !== undefined) {
    m.setProperties(encodeProperties([['TAGS', tag]]));
    m.tagsCode = hashOf(tag);
  }
  return m;
}

export function hashOf(tag: string): number {
  let hash = 0;
  for (const char of tag) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) | 0;
  return hash;
}

export function messagesIn(chunks: readonly Uint8Array[]): Message[] {
  const bytes = Buffer.concat(chunks);
  const messages: Message[] = [];
  const view = new RecordView();
  for (let at = 0; at < bytes.length;) {
    const end = at + bytes.readInt32BE(at);
    view.move(bytes, at, end, bytes.readUInt32BE(at + 28) * 4294967296 + bytes.readUInt32BE(at + 32));
    messages.push({
      topic: view.topic(),
      queueId: view.queueId,
      offset: view.queueOffset,
      position: view.position,
      body: view.body.toString(),
      storeTimestamp: view.storeTimestamp,
    });
    at = end;
  }
  return messages;
}
