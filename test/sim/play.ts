/** What a schedule puts on stage: the program on the machine, the actors, and a way to read everything. */
import type { Disk } from '@tallystick/base';
import type { QueueRead } from '../checkers/ledger.ts';
import type { Coverage } from './coverage.ts';
import type { Server } from './machine.ts';
import type { Actor, Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

export interface Play {
  readonly actors: readonly Actor[];
  /** Consumer groups that must have finished every message in the end. */
  readonly groups: readonly string[];
  /** Makes what the actors need; `done` when they may begin. */
  open(done: () => void): void;
  boot(owner: SimProcess, disk: Disk, failed: (reason: string) => void): PlayServer;
  /** Reads every queue; a queue that cannot be read is left out. */
  readAll(done: (reads: QueueRead[]) => void): void;
  /** Ids of a group's dead letters. */
  deadLetters(group: string, done: (ids: readonly string[]) => void): void;
}

export interface PlayServer extends Server {
  /** How old an unsynced confirmed message may be at most, ms. */
  readonly lossWindowMs: number;
  /** What recovery found, as coverage marks. */
  noteRecovery(coverage: Coverage): void;
  /** `topic/queue` → next offset. */
  queueEnds(): Map<string, number>;
  openHalves(): number;
}

export type Plays = (stage: Stage) => Play;
