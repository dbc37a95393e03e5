/**
 * Where a message goes that a consumer could not handle: back to its group's retry topic after a growing delay, or, when its
 * retries are used up, to the group's dead letters, where it stays until a person looks.
 */
export type RetryPlan = { readonly to: 'dead-letters' } | { readonly to: 'retry'; readonly level: number };

/**
 * @param reconsumeTimes how often the message has been sent back before
 * @param delayLevel what the consumer asks for: below 0 dead letters at once, 0 the usual ladder, above 0 that level
 */
export function planRetry(reconsumeTimes: number, delayLevel: number, retryMax: number): RetryPlan {
  if (reconsumeTimes >= retryMax || delayLevel < 0) return { to: 'dead-letters' };
  return { to: 'retry', level: delayLevel === 0 ? LADDER_START + reconsumeTimes : delayLevel };
}

/** The first retry waits level 3: 10 s (RocketMQ). */
const LADDER_START = 3;
