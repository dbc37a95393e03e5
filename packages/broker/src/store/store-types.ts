/**
 * The seams of the store: what it needs (ports, settings), what it tells (signals, outcomes) and what lives on top of it
 * (derived parts). Behaviour is in `store.ts`.
 */
import type { Clock, Disk, Random, Timers, Turn } from '@tallystick/base';
import type { QueueRef } from './queue-ref.ts';
import type { RecordView } from './record-view.ts';

export interface StorePorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
  readonly random: Random;
}

/** What only the owner of the store knows; options with defaults are in `options.ts`. */
export interface StoreSettings {
  /** Address written into every record: 4 or 16 bytes of IP, then the port as a 32-bit number. Default 127.0.0.1:0. */
  readonly storeHost?: Uint8Array | undefined;
  /**
   * The tag field of a record's queue entry when it has to be computed again from the log. Needed for queues whose tag field is
   * not the hash of the TAGS property (delayed messages: the due time); undefined means that hash.
   */
  readonly tagsCodeOf?: ((record: RecordView) => number | undefined) | undefined;
  /** The topics with such queues: a start asks for those only. Default: it asks for every record. */
  readonly tagsCodeTopics?: readonly string[] | undefined;
  /** Lowest position that must stay (open halves, protected offsets); asked before each deletion. Default: nothing is protected. */
  readonly floor?: (() => number) | undefined;
}

/** 'flush': as the store's flush option says. 'synced': always after a covering sync. */
export type AckLevel = 'flush' | 'synced';

/**
 * How an append ended. `ok`: it is as durable as was asked. `timeout`, `failed`: perhaps stored. The others: certainly not
 * stored: `full` (no space), `busy` (too much is waiting to be written), `too-large` (does not fit a segment), `closed`.
 */
export type AppendOutcome = 'ok' | 'timeout' | 'failed' | 'full' | 'busy' | 'too-large' | 'closed';

/** Who appends hears here how it ended. One sink serves any number of appends, told apart by the token. */
export interface AppendSink {
  /**
   * Called once per append. For an accepted append never during the `append` call itself, and in log order among appends of one level; for a refused one
   * synchronously, with `position` and `queueOffset` -1. `queueOffset` of a control record is -1.
   */
  appended(token: number, outcome: AppendOutcome, position: number, queueOffset: number): void;
}

/** A sink out of a closure, for paths that are not hot. */
export function sinkOf(done: (outcome: AppendOutcome, position: number, queueOffset: number) => void): AppendSink {
  return { appended: (_token, outcome, position, queueOffset) => done(outcome, position, queueOffset) };
}

/** A sink for appends whose outcome nobody waits for. */
export const NO_SINK: AppendSink = { appended() {} };

/** Signals that go up. All are called outside of `append`. */
export interface StoreSignals {
  /** The visible end of a queue moved; at most once per queue per step of the durable (asynchronous: written) end. */
  arrived(queue: QueueRef, maxOffset: number): void;
  /** No append will ever succeed again in this process. Every waiting append has been told. */
  failed(reason: string): void;
  /** The disk is full (true) or has space again (false). */
  full(isFull: boolean): void;
  /** Something of the store's waits because the process may open no more files; said at each try. */
  shortOfFiles?(sentence: string): void;
  /** A file of the log held what nobody wrote; it was kept in `quarantine/` for a person to look at. */
  movedAside?(sentence: string): void;
  /** A write, a sync or a read of the log has returned: what waits for the disk may look again. */
  progress?(): void;
}

/**
 * A part of the broker whose state is a function of the log: topics, offsets, open halves, delays. `apply` sees each record once,
 * in log order: at append when live (before it is durable), and again in recovery from the last snapshot on.
 */
export interface Derived {
  readonly name: string;
  /** 'control': only control records; 'all': messages too. */
  readonly records: 'control' | 'all';
  /** With 'all': the messages without which `apply` would do nothing are kept from it. Default: it is told of every one. */
  readonly interest?: MessageInterest | undefined;
  /** The view is valid during the call only. Must not append. */
  apply(record: RecordView, live: boolean): void;
  /** The whole state as bytes, which must not change afterwards; called between two records, so it must be quick. */
  snapshot(): Uint8Array;
  /** Takes over such bytes; called at most once, before any `apply`. Throws when they make no sense. */
  restore(bytes: Uint8Array): void;
}

/** Messages of one topic, messages with one of some sysflag bits, and messages whose properties begin with some text. */
export interface MessageInterest {
  readonly topic?: string;
  readonly sysFlagBits?: number;
  /** ASCII, at least four characters; only those are compared. */
  readonly firstProperty?: string;
}

export interface ReadRequest {
  readonly queue: QueueRef;
  readonly offset: number;
  /** Messages and bytes to return at most; at least one message is returned whatever its size. */
  readonly maxCount: number;
  readonly maxBytes: number;
  /** Decides by the tag field alone (hashes may collide; the client checks again). */
  readonly tagMatches?: ((tagsCode: number) => boolean) | undefined;
}

/** RocketMQ's store statuses of a pull, in our words; `error` when the log could not be read (see `reason`). */
export type ReadStatus = 'found' | 'none-matched' | 'empty' | 'overflow-one' | 'overflow-badly' | 'too-small' | 'error';

export interface ReadResult {
  readonly status: ReadStatus;
  /** Where to read next; for `overflow-badly` the end, for `too-small` the beginning of the queue. */
  readonly nextOffset: number;
  readonly minOffset: number;
  readonly maxOffset: number;
  /** Whole records back to back. Views into buffers that the next read uses again: valid during the call only. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  readonly count: number;
  readonly reason?: string | undefined;
}

/** Why a store does not open. `refused`: what is on the disk forbids it (the rule R0-R7 is named); `io`: the disk failed. */
export class StoreError extends Error {
  readonly kind: 'refused' | 'io';
  readonly rule: string | undefined;

  constructor(kind: 'refused' | 'io', message: string, rule?: string) {
    super(message);
    this.name = 'StoreError';
    this.kind = kind;
    this.rule = rule;
  }
}

/** What opening a store found and did. */
export interface RecoveryReport {
  readonly storeId: string;
  /** True when the last owner closed the store and nothing was amiss. */
  readonly clean: boolean;
  readonly isNew: boolean;
  readonly epoch: number;
  /** First and one-past-last position. */
  readonly start: number;
  readonly end: number;
  /** Position of the snapshot that was used; -1 without one. */
  readonly snapshotPosition: number;
  readonly scannedBytes: number;
  readonly rewrittenBytes: number;
  /** Bytes after the valid end that were dropped as torn. */
  readonly tornBytes: number;
  readonly rebuiltIndexes: number;
  /** Sentences on what was unusual, each with its rule. */
  readonly notes: readonly string[];
}

/** A look at the store; a fresh object each time. */
export interface StoreInfo {
  readonly state: 'new' | 'opening' | 'open' | 'closing' | 'closed' | 'failed';
  readonly isFull: boolean;
  /** Used share of the file system that the log lies on, 0 to 1; undefined when it is not known. */
  readonly diskUsedRatio: number | undefined;
  /** First position that is still there. */
  readonly start: number;
  /** Appended, written and durable ends; appended minus written is waiting in RAM. */
  readonly appendedEnd: number;
  readonly writtenEnd: number;
  readonly durableEnd: number;
  readonly pendingBytes: number;
  readonly unsyncedBytes: number;
  /** Age of the oldest append that waits for its write or sync, 0 when none does. */
  readonly oldestWaitMs: number;
  readonly waiting: number;
  readonly segments: number;
  readonly messages: number;
  readonly groups: number;
  readonly syncs: number;
  readonly writes: number;
  readonly diskReads: number;
}
