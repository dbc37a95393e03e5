/** A transport between which and its relay stands the harness: the steps of a push. */
import type { PublishOutcome, Transport } from '@tallystick/reliable';
import type { StepName } from '../steps.ts';
import type { Line } from './line.ts';

export interface PushSteps {
  /** Nothing has left. */
  readonly claimed: StepName;
  /** No answer has been read. */
  readonly sent: StepName;
  /** Nothing is settled. */
  readonly confirmed: StepName;
}

const OF_THE_RELAY: PushSteps = { claimed: 'after-claim', sent: 'published', confirmed: 'after-publish' };

export function announced(transport: Transport, line: Line, steps = OF_THE_RELAY): Transport {
  return {
    ...(transport.keepsOrder === undefined ? {} : { keepsOrder: transport.keepsOrder }),
    async publish(batch) {
      const first = batch[0]?.id ?? '';
      await line.reached(steps.claimed, batch.length, first);
      const answer = transport.publish(batch);
      // It may be rejected while the harness holds us; the await below is told.
      answer.catch(() => undefined);
      await line.reached(steps.sent, batch.length, first);
      const outcomes = await answer;
      countOutcomes(outcomes, line);
      if (outcomes.some(({ outcome }) => outcome === 'confirmed')) await line.reached(steps.confirmed, batch.length, first);
      return outcomes;
    },
  };
}

function countOutcomes(outcomes: readonly PublishOutcome[], line: Line): void {
  for (const { outcome, reason } of outcomes) if (outcome !== 'confirmed') line.count(`publish-${outcome}`, reason ?? '');
}
