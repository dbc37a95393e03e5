import {
  booleanOption,
  choiceOption,
  integerOption,
  OptionsError,
  resolveOptions,
  type GivenOptions,
  type Options,
} from '@tallystick/base';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Every limit, size and wait of the store. */
export const STORE_OPTIONS = {
  flush: choiceOption<'sync' | 'async'>(
    'sync',
    ['sync', 'async'],
    'When an append counts as done: once synced to the disk, or once written to the page cache.',
  ),
  segmentBytes: integerOption(64 * MIB, 8 * KIB, 1024 * MIB, 'Size of one file of the log.'),
  groupBytes: integerOption(
    256 * KIB,
    512,
    16 * MIB,
    'A write group closes at this size; a larger record or batch stands alone.',
  ),
  blockBytes: integerOption(
    1 * MIB,
    1 * KIB,
    64 * MIB,
    'Size of one recycled buffer of the RAM tail; groups are encoded into it.',
  ),
  tailBytes: integerOption(64 * MIB, 4 * KIB, 4096 * MIB, 'How much of the newest log stays in RAM for readers who keep up.'),
  pendingBytesMax: integerOption(
    128 * MIB,
    4 * KIB,
    4096 * MIB,
    'Appended but not yet written bytes; beyond it appends are refused as busy.',
  ),
  unsyncedBytesMax: integerOption(
    64 * MIB,
    4 * KIB,
    4096 * MIB,
    'Written but not yet synced bytes at which writing waits for the disk.',
  ),
  syncIntervalMs: integerOption(200, 1, 60_000, 'How often asynchronous mode syncs: the loss window of a power cut.'),
  transientStorePoolEnable: booleanOption(
    false,
    'With flush async only: an append counts as done in a buffer in RAM, before it is written. Kill -9 then costs what was not committed.',
  ),
  transientStorePoolSize: integerOption(
    5,
    2,
    1024,
    'Buffers of the transient store pool; with none left sends are answered busy.',
  ),
  transientStorePoolBufferBytes: integerOption(
    4 * MIB,
    1 * KIB,
    64 * MIB,
    'Size of one buffer of the transient store pool (RocketMQ: as large as a file of the log).',
  ),
  commitCommitLogLeastPages: integerOption(
    4,
    1,
    4096,
    'Pages of 4 KiB that the transient store pool gathers before it writes them.',
  ),
  commitIntervalCommitLog: integerOption(
    200,
    1,
    60_000,
    'Milliseconds after which the transient store pool writes whatever it has: the loss window of a killed process, and how long a reader waits for a lone message.',
  ),
  fastFailIfNoBufferInStorePool: booleanOption(
    false,
    'An append that finds all buffers of the transient store pool in use is refused as busy; otherwise it waits for its write.',
  ),
  syncMarkerMs: integerOption(50, 1, 60_000, 'Idle time after which a group without records notes how far the log is durable.'),
  syncFlushTimeoutMs: integerOption(2_000, 10, 600_000, 'After this wait an append is reported as timed out (perhaps stored).'),
  closeTimeoutMs: integerOption(
    10_000,
    10,
    600_000,
    'How long closing waits for the disk before the store is left as a crash would leave it.',
  ),
  reserveBytes: integerOption(
    16 * MIB,
    8 * KIB,
    1024 * MIB,
    'Space kept back for confirmations and offsets when the disk is full.',
  ),
  diskUsedMaxPercent: integerOption(
    85,
    1,
    100,
    'Use of the file system beyond which sends and halves are refused, if besides less than diskFreeBytesMin is free; taken again 5 below.',
  ),
  diskFreeBytesMin: integerOption(
    2048 * MIB,
    0,
    Number.MAX_SAFE_INTEGER,
    'Free space below which sends and halves are refused, if besides more than diskUsedMaxPercent is used; taken again a third above.',
  ),
  diskSpaceIntervalMs: integerOption(1_000, 10, 3_600_000, 'How often the free space is looked at.'),
  fullRetryMs: integerOption(1_000, 10, 60_000, 'How often a full store looks whether there is space again.'),
  snapshotsKept: integerOption(
    3,
    2,
    10,
    'Generations of snapshots that are kept. One is taken when a segment was filled and the log has grown by four times the last one.',
  ),
  spanBytes: integerOption(256 * KIB, 4 * KIB, 16 * MIB, 'Least bytes of one read of the log from disk.'),
  spanCacheBytes: integerOption(
    32 * MIB,
    16 * KIB,
    1024 * MIB,
    'Bytes of the log recently read from disk that stay in RAM, for consumers of other queues: what one has read they find there.',
  ),
  indexCacheBlocks: integerOption(
    256,
    4,
    65_536,
    'Blocks of 1,024 index entries (20 KiB) recently read from disk that stay in RAM.',
  ),
  readsWaitingMax: integerOption(10_000, 1, 1_000_000, 'Reads that may wait for the disk.'),
  reservedHours: integerOption(72, 1, 1_000_000, 'Age at which a segment may be deleted (RocketMQ: fileReservedTime).'),
  storeMaxBytes: integerOption(
    64 * 1024 * MIB,
    16 * KIB,
    Number.MAX_SAFE_INTEGER,
    'Size of the whole log at which the oldest segment may be deleted.',
  ),
  retentionIntervalMs: integerOption(
    10_000,
    10,
    3_600_000,
    'How often the oldest segment is looked at. Of old ones one is deleted each time; of too many, all, also whenever one is filled.',
  ),
} as const;

export type StoreOptions = Options<typeof STORE_OPTIONS>;
export type GivenStoreOptions = GivenOptions<typeof STORE_OPTIONS>;

/** Fills in defaults; throws with every fault named. */
export function storeOptions(given: GivenStoreOptions): StoreOptions {
  const options = resolveOptions('store', STORE_OPTIONS, given);
  checkStoreOptions('store', options);
  return options;
}

/** What single rows cannot see. */
export function checkStoreOptions(owner: string, { flush, transientStorePoolEnable }: StoreOptions): void {
  if (!transientStorePoolEnable || flush === 'async') return;
  throw new OptionsError(owner, [
    'transientStorePoolEnable needs flush async: it acknowledges what lies in RAM, and flush sync promises the disk; give one of them up',
  ]);
}
