/** What is known of an unsettled half message without touching the log. */
export interface HalfRow {
  /** Offset in the half queue. */
  readonly offset: number;
  /** Byte address of the half message in the log. */
  readonly position: number;
  readonly group: string;
  readonly topic: string;
  /** The sender's unique key. */
  readonly id: string;
  readonly storedAtMs: number;
  /** Questions sent to the producer group so far. */
  readonly checks: number;
  /** Wall-clock time before which its sender does not want to be asked; 0 when it did not say. */
  readonly immuneUntilMs: number;
  readonly state: 'open' | 'parked';
}
