/** Bits of a message's sysFlag (RocketMQ's MessageSysFlag), and of a pull's. */
export const SysFlag = {
  COMPRESSED: 0x1,
  MULTI_TAGS: 0x2,
  /** Transaction type: one of the next three, or 0. */
  TRANSACTION_MASK: 0xc,
  PREPARED: 0x4,
  COMMIT: 0x8,
  ROLLBACK: 0xc,
  BORN_HOST_V6: 0x10,
  STORE_HOST_V6: 0x20,
  NEED_UNWRAP: 0x40,
  INNER_BATCH: 0x80,
  COMPRESSION_MASK: 0x700,
} as const;

/** Transaction type of a sysFlag, as END_TRANSACTION's commitOrRollback has it: 0, 4, 8 or 12. */
export function transactionType(sysFlag: number): number {
  return sysFlag & SysFlag.TRANSACTION_MASK;
}

/** How a compressed body is compressed; 0 and 3 are zlib. */
export function compressionOf(sysFlag: number): 'none' | 'zlib' | 'lz4' | 'zstd' | 'unknown' {
  if ((sysFlag & SysFlag.COMPRESSED) === 0) return 'none';
  return (['zlib', 'lz4', 'zstd', 'zlib'] as const)[(sysFlag & SysFlag.COMPRESSION_MASK) >> 8] ?? 'unknown';
}

/** Bits of a pull's sysFlag (RocketMQ's PullSysFlag). */
export const PullFlag = {
  COMMIT_OFFSET: 1,
  SUSPEND: 2,
  SUBSCRIPTION: 4,
  CLASS_FILTER: 8,
  LITE_PULL: 16,
} as const;
