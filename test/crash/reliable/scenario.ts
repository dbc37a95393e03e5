/** A scenario: what is done to the processes while transfers flow, and which faults it must report to have done. */
import type { Stage } from './stage.ts';

export interface Scenario {
  readonly name: string;
  readonly sentence: string;
  /** Its part of all transfers. */
  readonly share: number;
  /** Names that must be in the stage's faults at the end. */
  readonly faults: readonly string[];
  /** Brokers it makes sense with; absent: all. */
  readonly brokers?: readonly ('ours' | 'rabbitmq')[];
  /** It hurts a server that other scenarios need, too. */
  readonly alone?: true;
  /** Database A begins with the tables of this version; default: the newest. */
  readonly schemaVersion?: 1;
  run(stage: Stage): Promise<void>;
}
