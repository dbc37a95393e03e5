import type { AckLevel, AppendOutcome } from './store/store-types.ts';

/**
 * What broker state needs of the store to remember a decision: a control record, see `store/control-records.ts` for the types.
 * The bytes are read during the call. `done` is called once; synchronously only when the record was refused.
 */
export interface Journal {
  control(type: number, body: Uint8Array, level: AckLevel, done: (outcome: AppendOutcome) => void): void;
}

/** Version of all control bodies the broker writes today. */
export const CONTROL_VERSION = 1;
