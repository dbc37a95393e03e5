/**
 * "Sometimes" marks: situations that a full run must have met, or it proves little. A schedule counts them, the run adds them up,
 * and a full run with a zero among them fails.
 */
export const SOMETIMES = [
  'kill during write',
  'kill during sync',
  'kill during write-through',
  'kill during roll',
  'kill during snapshot',
  'kill during checkpoint',
  'kill during recovery',
  'power cut during write',
  'power cut during sync',
  'power cut during write-through',
  'power cut during roll',
  'power cut during snapshot',
  'power cut during checkpoint',
  'power cut during recovery',
  'torn tail dropped',
  'suffix rewritten',
  'index rebuilt',
  'snapshot used',
  'started clean',
  'segment rolled',
  'disk full met',
  'resumed after full',
  'write failed',
  'sync failed',
  'failed sync cleared',
  'sync stalled',
  'old segments deleted',
  'rot refused',
  'refused again after a power cut',
  'rot harmless',
  'send confirmed',
  'send rejected',
  'send unknown',
  'half committed',
  'half rolled back',
  'check-back sent',
  'check-back answered unknown',
  'END lost',
  'END duplicated',
  'second END refused',
  'first of two verdicts confirmed',
  'message consumed',
  'handler failed',
  'retry delivered',
  'dead letter',
  'consumer offset read',
  'client killed',
  'connection cut',
  'connection half open',
  'async suffix lost',
  'buffered suffix lost',
  'burst sent',
  'batch cut in two',
  'refused send repeated',
  'numbered send repeated',
  'send waited for memory',
  'wall clock jumped',
  'numbered batch sent',
  'request out of order',
  'repeated request recognised',
  'numbers begun anew',
] as const;

export type Sometimes = (typeof SOMETIMES)[number];

export class Coverage {
  readonly counts = new Map<Sometimes, number>();

  hit(mark: Sometimes, times = 1): void {
    if (times > 0) this.counts.set(mark, (this.counts.get(mark) ?? 0) + times);
  }

  add(other: Coverage): void {
    for (const [mark, times] of other.counts) this.hit(mark, times);
  }

  missing(): Sometimes[] {
    return SOMETIMES.filter((mark) => !this.counts.has(mark));
  }
}
