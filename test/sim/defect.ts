import type { Disk } from '@tallystick/base';
import type { SimDisk } from './disk.ts';
import type { Plan } from './plan.ts';

/** A mistake built in for the time of one schedule. */
export interface Defect {
  readonly name: string;
  readonly sentence: string;
  /** Schedules within which it has to be caught. */
  readonly budget: number;
  /** Where the quick search of `npm test` begins, so that it ends soon; 1 when absent. */
  readonly from?: number | undefined;
  /** Wraps the broker's disk; `isRecovering` tells whether the broker is still starting. */
  readonly disk?: ((disk: Disk, isRecovering: () => boolean) => Disk) | undefined;
  /** Does something to the store's files before each start. */
  readonly beforeStart?: ((disk: SimDisk) => void) | undefined;
  /** Replaces methods of the product; gives the function that puts them back. */
  readonly plant?: (() => () => void) | undefined;
  /** What the plan must have for the defect to matter. */
  readonly plan?: Partial<Plan> | undefined;
}
