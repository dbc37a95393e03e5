import {
  GROUP_HEADER_BYTES,
  GROUP_IS_MARKER,
  GROUP_RECORDS_MAX,
  groupBytes,
  sealGroup,
  type GroupHeader,
} from './group-header.ts';
import type { Segment } from './segment.ts';
import type { Segments } from './segments.ts';
import type { Block, Tail } from './tail.ts';

/**
 * Where the next record goes. Gathers records into groups, groups into blocks and segments, and hands out addresses: `reserve` makes
 * room in the open group, the caller encodes at `bytes[at]`, `took` counts it. A group closes at the end of the turn, at
 * `groupBytes`, or when its block or segment ends. Does no I/O: what is closed, the writer takes from the blocks.
 */
export class GroupBuilder {
  readonly #tail: Tail;
  readonly #segments: Segments;
  readonly #groupBytesMax: number;
  readonly #onRoll: (from: Segment, to: Segment) => void;
  segment!: Segment;
  block: Block | undefined;
  /** The first block ever; the writer starts there. */
  firstBlock: Block | undefined;
  /** Where in the block the next record goes. */
  at = 0;
  /** End of the log as appended: of the last closed group, or so far of the open one. */
  closedEnd = 0;
  /** End of the last closed group that has records. */
  lastDataEnd = 0;
  /** What the last closed group said about durability. */
  carriedDurableEnd = 0;
  /** Set by the writer. */
  durableEnd = 0;
  groups = 0;
  /** Nothing more goes into the segment, whatever room it has. */
  isSegmentShut = false;
  readonly #header: GroupHeader = { previousCrc: 0, position: 0, durableUpTo: 0, sequence: 0, epoch: 0, records: 0, flags: 0 };
  #groupAt = -1;
  #isPinned = false;

  constructor(tail: Tail, segments: Segments, groupBytesMax: number, onRoll: (from: Segment, to: Segment) => void) {
    this.#tail = tail;
    this.#segments = segments;
    this.#groupBytesMax = groupBytesMax;
    this.#onRoll = onRoll;
  }

  /** Continues the chain that recovery found. */
  start(segment: Segment, end: number, previousCrc: number, sequence: number, epoch: number): void {
    this.segment = segment;
    this.closedEnd = end;
    this.lastDataEnd = end;
    this.carriedDurableEnd = end;
    this.durableEnd = end;
    this.#header.previousCrc = previousCrc;
    this.#header.sequence = sequence;
    this.#header.epoch = epoch;
  }

  get previousCrc(): number {
    return this.#header.previousCrc;
  }

  /** Sequence of the next group. */
  get sequence(): number {
    return this.#header.sequence;
  }

  get epoch(): number {
    return this.#header.epoch;
  }

  /** End of everything appended, the open group's padding included. */
  get end(): number {
    return this.#groupAt < 0 ? this.closedEnd : this.closedEnd + groupBytes(this.at - this.#groupAt - GROUP_HEADER_BYTES);
  }

  get isOpen(): boolean {
    return this.#groupAt >= 0;
  }

  /** Bytes in the open group. */
  get openBytes(): number {
    return this.#groupAt < 0 ? 0 : this.at - this.#groupAt;
  }

  /** Address of the byte at `at`. */
  get position(): number {
    return this.block!.base + this.at;
  }

  /** Whether so many bytes of records would need a new segment. */
  needsRoll(bytes: number): boolean {
    return !this.#fitsGroup(bytes) && this.#isBeyondSegment(this.end, groupBytes(bytes));
  }

  /** Makes room for a record, or for all records of a pinned group. */
  reserve(bytes: number): void {
    if (this.#fitsGroup(bytes)) return;
    if (this.#isPinned) throw new Error(`a group of ${bytes} more bytes than was announced`);
    this.close();
    this.#open(bytes);
  }

  /** Counts the record that now ends at `end`. */
  took(end: number): void {
    this.at = end;
    this.#header.records++;
  }

  /** Until `unpin`, everything goes into one group with room for `bytes`. */
  pin(bytes: number): void {
    this.reserve(bytes);
    this.#isPinned = true;
  }

  unpin(): void {
    this.#isPinned = false;
  }

  /** Closes the open group, if any. */
  close(): void {
    if (this.#groupAt < 0) return;
    if (this.#header.records === 0) {
      this.at = this.#groupAt;
      this.#groupAt = -1;
      return;
    }
    this.#seal(0);
    this.lastDataEnd = this.closedEnd;
  }

  /** Appends and closes a group without records that carries the durable end. False when there is no room in this segment. */
  appendMarker(): boolean {
    if (this.#groupAt >= 0 || this.#isBeyondSegment(this.closedEnd, groupBytes(0))) return false;
    this.#open(0);
    this.#seal(GROUP_IS_MARKER);
    return true;
  }

  #seal(flags: number): void {
    const block = this.block!;
    const header = this.#header;
    header.position = block.base + this.#groupAt;
    header.durableUpTo = this.durableEnd;
    header.flags = flags;
    const crc = sealGroup(block.bytes, this.#groupAt, this.at, header);
    this.at = this.#groupAt + groupBytes(this.at - this.#groupAt - GROUP_HEADER_BYTES);
    this.#groupAt = -1;
    block.closed = this.at;
    this.closedEnd = block.base + this.at;
    this.carriedDurableEnd = header.durableUpTo;
    this.segment.lastEnd = this.closedEnd;
    this.segment.lastCrc = crc;
    header.previousCrc = crc;
    header.sequence++;
    header.records = 0;
    this.groups++;
  }

  #open(bytes: number): void {
    const need = groupBytes(bytes);
    if (this.#isBeyondSegment(this.closedEnd, need)) this.#roll();
    const position = this.closedEnd;
    let block = this.block;
    if (block === undefined || block.segment !== this.segment || this.at + need > block.bytes.length) {
      if (block !== undefined) block.isOpen = false;
      block = this.#tail.open(position, this.segment, need);
      this.block = block;
      this.firstBlock ??= block;
      this.at = 0;
    }
    this.#groupAt = this.at;
    this.at += GROUP_HEADER_BYTES;
  }

  #roll(): void {
    const from = this.segment;
    const to = this.#segments.roll();
    this.#onRoll(from, to);
    this.segment = to;
    this.closedEnd = to.firstGroup;
    this.isSegmentShut = false;
  }

  #isBeyondSegment(position: number, bytes: number): boolean {
    return this.isSegmentShut || position + bytes > this.segment.end;
  }

  #fitsGroup(bytes: number): boolean {
    const groupAt = this.#groupAt;
    if (groupAt < 0) return false;
    // To the byte what `#open` made room for: a block may be exactly as long as one large group.
    const end = groupAt + groupBytes(this.at - groupAt - GROUP_HEADER_BYTES + bytes);
    const block = this.block!;
    if (end > block.bytes.length || block.base + end > this.segment.end) return false;
    if (this.#header.records >= GROUP_RECORDS_MAX) return false;
    return this.#isPinned || this.#header.records === 0 || end - groupAt <= this.#groupBytesMax;
  }
}
