import type { AppendMessage } from './append-message.ts';
import type { GivenStoreOptions, StoreOptions } from './options.ts';
import type { QueueRef } from './queue-ref.ts';
import type { AckLevel, AppendSink, Derived, ReadRequest, ReadResult, RecoveryReport, StoreError, StoreInfo, StorePorts, StoreSettings, StoreSignals } from './store-types.ts';

/** The store's face: being filled in. */
export declare class Store {
  readonly options: StoreOptions;
  constructor(ports: StorePorts, options: GivenStoreOptions, settings: StoreSettings, signals: StoreSignals, derived: readonly Derived[]);
  /** Recovers and starts. Nothing else may be called before `done` said yes. */
  open(done: (error: StoreError | undefined, report: RecoveryReport) => void): void;
  /** Writes all, syncs, snapshots, marks the store clean. Appends are refused from the call on. */
  close(done: (error: StoreError | undefined) => void): void;

  /** True: accepted, `m`'s assigned fields are set, the sink will hear. False: refused, the sink has heard already. */
  append(m: AppendMessage, level: AckLevel, sink: AppendSink, token: number): boolean;
  /** Appends a control record (may always use the reserve). Gives its position, -1 when refused. */
  appendControl(type: number, version: number, body: Uint8Array, level: AckLevel, sink: AppendSink, token: number): number;
  /**
   * Everything appended inside `run` lies in one group: after a crash all of it is there or nothing. `bytesMax` is an upper bound of
   * the encoded size (`messageBytes`, `controlBytes`). False: refused as a whole with that outcome, `run` was not called.
   */
  together(bytesMax: number, mayUseReserve: boolean, run: () => void): 'ok' | 'full' | 'busy' | 'too-large' | 'failed' | 'closed';
  messageBytes(m: AppendMessage): number;
  controlBytes(bodyBytes: number): number;

  /** The interned queue; made (empty) when unknown. */
  queue(topic: string, queueId: number): QueueRef;
  /** The interned queue if anything was ever appended or asked for there. */
  findQueue(topic: string, queueId: number): QueueRef | undefined;
  queues(): Iterable<QueueRef>;

  /** Answers during the call when everything is in RAM, else later, in order of calls. */
  read(request: ReadRequest, done: (result: ReadResult) => void): void;
  /** One message record by its address, e.g. out of a message id: anything may be asked. The bytes are valid during the call. */
  readRecord(position: number, done: (error: string | undefined, bytes: Buffer) => void): void;
  /** 'lower': first offset stored at or after the time (else max). 'upper': last offset stored at or before it (else min). */
  offsetByTime(queue: QueueRef, timestampMs: number, boundary: 'lower' | 'upper', done: (error: string | undefined, offset: number) => void): void;
  /** Lowest position that has to stay so that `offset` and all after it stay; for the owner's `floor`. */
  floorOf(queue: QueueRef, offset: number): number;

  /** Writes a snapshot of everything appended so far, once it is durable. */
  snapshotNow(done: (error: string | undefined) => void): void;
  info(): StoreInfo;
}
