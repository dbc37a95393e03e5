/** What the actors of one schedule share. */
import { crc32 } from 'node:zlib';
import type { Ledger } from '../checkers/ledger.ts';
import type { Coverage } from './coverage.ts';
import type { SimNetwork } from './network.ts';
import type { Plan } from './plan.ts';
import type { Prng } from './prng.ts';
import type { World } from './world.ts';

export const ADDRESS = '10.0.0.1:9876';
export const TOPIC = 'orders';

export interface Stage {
  readonly world: World;
  readonly network: SimNetwork;
  readonly plan: Plan;
  readonly ledger: Ledger;
  readonly coverage: Coverage;
  /** True while load and faults go on; false in the phase in which everything has to come to rest. */
  chaos: boolean;
  /** The power cuts that an async broker came back from: wall-clock time, and the next offset of each queue afterwards. */
  readonly cuts: { readonly wallMs: number; readonly ends: ReadonlyMap<string, number> }[];
  /** Of the orderly group: the first offset of each queue that is not finished. */
  readonly orderlyDone: Map<number, number>;
  /** Ids of messages that were appended as one atom: all are there or none. */
  readonly groups: string[][];
}

/** One who acts in a schedule. */
export interface Actor {
  readonly name: string;
  begin(): void;
  /** Its process dies and another takes its place; actors without a process of their own ignore it. */
  restart?(): void;
  /** True when it waits for nothing more. */
  atRest(): boolean;
  /** Why it is not, for the report of a schedule that does not come to rest. */
  waitsFor?(): string;
}

let counter = 0;

/** Ids start again with each schedule: they must not depend on what ran before. */
export function resetIds(): void {
  counter = 0;
}

/** A message's own id, 32 upper-case hex digits. */
export function nextId(seed: number): string {
  return `${(seed >>> 0).toString(16).padStart(8, '0')}${'0'.repeat(16)}${(++counter).toString(16).padStart(8, '0')}`.toUpperCase();
}

/** A body that names its message, of random length. */
export function bodyOf(id: string, random: Prng, bytesMax: number): Buffer {
  const body = Buffer.alloc(random.between(1, bytesMax) + 8, id.charCodeAt(31));
  body.write(id.slice(24), 0, 'latin1');
  return body;
}

export function checksum(body: Uint8Array): number {
  return crc32(body);
}

/** Log position out of RocketMQ's offset message id (the last 16 hex digits); -1 when there is none. */
export function positionOf(offsetMessageId: string): number {
  return offsetMessageId.length < 16 ? -1 : Number.parseInt(offsetMessageId.slice(-16), 16);
}
