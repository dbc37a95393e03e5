/** What the parent hands to a child as one JSON argument. */
import type { PlanOptions } from './plan.ts';

export interface ChildOptions {
  readonly plan: PlanOptions;
  readonly bankA: string;
  readonly bankB: string;
  /** Port of this bank's proxy in front of the broker; 0 for the checker. */
  readonly brokerPort: number;
  /** Least time between the starts of two transfers. */
  readonly paceMs: number;
}
