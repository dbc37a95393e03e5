/**
 * Control records: what the broker notes in the log beside messages. Layout on disk, big-endian:
 *
 *     u32 size   u32 magic "TSCR"   u16 type   u16 version   body
 *
 * The numbers below are on disks: they are never used for anything else. Bodies belong to the part that writes them.
 */
export const CONTROL_MAGIC = 0x54534352;
export const CONTROL_HEAD_BYTES = 12;

export const ControlType = {
  /** A half message was rolled back. */
  ROLLBACK: 1,
  /** A delayed message fired; stands in one group with the message it became. */
  DELAYED_FIRED: 2,
  /** Committed offsets of consumer groups. */
  CONSUMER_OFFSETS: 3,
  /** Topics were made, changed or removed. */
  TOPICS: 4,
  /** How often open halves have been checked. */
  CHECK_COUNTS: 5,
  /** A half message got a new home; names the old and the new position. */
  HALF_ALIAS: 6,
  /** A stretch of the log that an operator gave up in a repair. */
  HOLE: 7,
} as const;

export type ControlTypeName = keyof typeof ControlType;
