import type { Peer } from '@tallystick/remoting';
import { connectionOf, Hold } from '../connection.ts';
import type { BrokerOptions } from '../options.ts';
import type { LaneName, LaneRow } from './lane-table.ts';
import { WaitingLine } from './waiting-line.ts';

/** One lane: its limits, who waits, and how much of it may be served at once in this turn. */
export class Lane {
  readonly row: LaneRow;
  readonly capacity: number;
  readonly bytesMax: number;
  readonly share: number;
  readonly cost: number;
  readonly waitMs: number;
  readonly readsMax: number;
  readonly creditMax: number;
  /** Positive only while nobody waits and nothing forbids to serve. */
  credit: number;
  readonly line = new WaitingLine();
  /** Connections that are not read until the lane has half emptied. */
  readonly held = new Set<Peer>();

  constructor(row: LaneRow, options: BrokerOptions) {
    this.row = row;
    this.capacity = options[row.capacity];
    this.bytesMax = options[row.bytes];
    this.share = options[row.share];
    this.cost = row.cost;
    this.waitMs = row.wait === undefined ? Infinity : options[row.wait];
    this.readsMax = row.reads === undefined ? Infinity : options[row.reads];
    this.credit = this.creditMax = this.share * row.sharesAtOnce;
  }

  get isHalfFull(): boolean {
    return this.line.size > this.capacity / 2 || this.line.bytes > this.bytesMax / 2;
  }

  hold(peer: Peer): void {
    this.held.add(peer);
    connectionOf(peer).hold(Hold.LANE);
  }

  /**
   * Has connections read again when there is room, the first held first, as many as have kept back one share together: a thousand would
   * fill the lane with one request each and be held again. All of them when the lane is shut, and refuses: what lies in a connection that
   * is not read hears of nothing, and the lane may take long to empty.
   */
  relax(isShut: boolean): void {
    const isRefusing = isShut && this.row.neverDrops !== true;
    if (this.held.size === 0 || (this.isHalfFull && !isRefusing)) return;
    let left = isRefusing ? Infinity : this.share;
    for (const peer of this.held) {
      if (left <= 0) break;
      left -= peer.heldBytes;
      this.held.delete(peer);
      connectionOf(peer).release(Hold.LANE);
    }
  }

  /** As people see it. */
  shown(nowMs: number): ShownLane {
    const { row, line, capacity, held } = this;
    return {
      name: row.name,
      waiting: line.size,
      waitingBytes: line.bytes,
      capacity,
      headWaitMs: line.size === 0 ? 0 : Math.max(0, nowMs - line.headMs),
      heldConnections: held.size,
    };
  }
}

/** A lane as people see it. */
export interface ShownLane {
  readonly name: LaneName;
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly capacity: number;
  readonly headWaitMs: number;
  /** Connections that are not read because the lane is full. */
  readonly heldConnections: number;
}
