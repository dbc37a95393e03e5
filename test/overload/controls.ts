/** Runs that must fail: if they pass, the other cases prove nothing. */
import type { GivenBrokerOptions } from '@tallystick/broker';
import { Checks, type CaseResult } from './checks.ts';
import { withStorm } from './metastable.ts';
import { diskBound } from './saturation.ts';

/** What switches the broker's flow control off, as far as options can. */
const NO_FLOW_CONTROL: GivenBrokerOptions = {
  flush: 'async',
  brokerFastFailureEnable: false,
  osPageCacheBusyTimeOutMills: 3_600_000,
  sendThreadPoolQueueCapacity: 10_000_000,
  sendQueueBytesMax: 4096 * 1024 * 1024,
  storeBacklogMs: 3_600_000,
  unsyncedBytesMax: 4096 * 1024 * 1024,
  pendingBytesMax: 4096 * 1024 * 1024,
  connectionSendsMax: 10_000_000,
  connectionSendBytesMax: 4096 * 1024 * 1024,
};

export async function controls(seconds: number): Promise<CaseResult> {
  const checks = new Checks();
  const [unlimited, storm] = await Promise.all([
    diskBound(seconds, NO_FLOW_CONTROL, 'disk-bound without flow control', 1),
    withStorm(seconds, NO_FLOW_CONTROL),
  ]);
  const fell = (part: string): boolean => unlimited.checks.some(({ holds, sentence }) => !holds && sentence.includes(part));
  for (const part of ['gets an answer', 'control requests', '[OVERLOAD]'])
    checks.that(
      fell(part),
      `a broker without flow control is caught by "${part}"`,
      unlimited.checks.find(({ sentence }) => sentence.includes(part))!.seen,
    );
  checks.that(
    storm.recoveredS === undefined,
    'without flow control, senders that send again at once keep it down at 90 %',
    storm.timely,
  );
  return { name: 'controls', checks: checks.list, figures: { unlimited, storm } };
}
