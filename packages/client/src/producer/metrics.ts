/** A producer's metrics: plain numbers at one moment. Totals only grow; who wants rates takes differences. */
import type { ProducerBatch } from './producer-batch.ts';
import type { ProducerCounters } from './producer-counters.ts';
import type { TopicLanes } from './topic-lanes.ts';

export interface ProducerMetrics {
  /** Records and bytes given to brokers (first attempts), records that got a receipt, that failed, and whose outcome is unknown. */
  readonly records: number;
  readonly bytes: number;
  readonly acknowledged: number;
  readonly errors: number;
  readonly unknown: number;
  /** Records sent again, records expired before an attempt, batches cut in pieces, repetitions that the broker recognised. */
  readonly retries: number;
  readonly expired: number;
  readonly splits: number;
  readonly duplicates: number;
  readonly requests: number;
  readonly batches: number;
  readonly batchBytesAverage: number;
  readonly batchBytesMax: number;
  readonly batchRecordsAverage: number;
  readonly batchRecordsMax: number;
  /** From a batch's first record to its first attempt. */
  readonly queueTimeMsAverage: number;
  readonly queueTimeMsMax: number;
  /** From a request to its answer. */
  readonly requestLatencyMsAverage: number;
  readonly requestLatencyMsMax: number;
  readonly bufferTotalBytes: number;
  readonly bufferAvailableBytes: number;
  /** Appends that found no memory. */
  readonly bufferExhausted: number;
  /** Sends that wait now, their bytes; ends of waits so far and how long they took. */
  readonly waitingRecords: number;
  readonly waitingBytes: number;
  readonly waits: number;
  readonly waitMsSum: number;
  readonly waitMsMax: number;
  /** Records without a verdict, and of these the requests and records at brokers. */
  readonly pendingRecords: number;
  readonly requestsInFlight: number;
  readonly recordsInFlight: number;
  /** Since the oldest of the routes in use was learned; 0 without routes. */
  readonly routeAgeMs: number;
}

/** How long sends have waited. */
export class WaitTimes {
  count = 0;
  sumMs = 0;
  maxMs = 0;

  note(ms: number): void {
    this.count++;
    this.sumMs += ms;
    if (ms > this.maxMs) this.maxMs = ms;
  }
}

interface Present {
  readonly pendingRecords: number;
  readonly waitingRecords: number;
  readonly waitingBytes: number;
  readonly flying: Iterable<ProducerBatch>;
}

export function producerMetrics(
  counters: ProducerCounters,
  pool: { readonly totalBytes: number; readonly availableBytes: number },
  waits: WaitTimes,
  topics: Iterable<TopicLanes>,
  nowMs: number,
  { flying, ...present }: Present,
): ProducerMetrics {
  let requestsInFlight = 0;
  let recordsInFlight = 0;
  for (const batch of flying) {
    // Of a run each record is a request, and those with a verdict are in flight no more.
    requestsInFlight += batch.frames === undefined ? 1 : batch.left;
    recordsInFlight += batch.left;
  }
  let routeAgeMs = 0;
  for (const topic of topics) if (topic.routed) routeAgeMs = Math.max(routeAgeMs, nowMs - topic.routedMs);
  const { records, bytes, acknowledged, errors, unknown, retries, expired, splits, duplicates, requests, batches } = counters;
  return {
    records,
    bytes,
    acknowledged,
    errors,
    unknown,
    retries,
    expired,
    splits,
    duplicates,
    requests,
    batches,
    batchBytesAverage: average(bytes, batches),
    batchBytesMax: counters.batchBytesMax,
    batchRecordsAverage: average(records, batches),
    batchRecordsMax: counters.batchRecordsMax,
    queueTimeMsAverage: average(counters.queueTimeMsSum, batches),
    queueTimeMsMax: counters.queueTimeMsMax,
    requestLatencyMsAverage: average(counters.answerTimeMsSum, counters.answers),
    requestLatencyMsMax: counters.answerTimeMsMax,
    bufferTotalBytes: pool.totalBytes,
    bufferAvailableBytes: pool.availableBytes,
    bufferExhausted: counters.exhausted,
    ...present,
    waits: waits.count,
    waitMsSum: waits.sumMs,
    waitMsMax: waits.maxMs,
    requestsInFlight,
    recordsInFlight,
    routeAgeMs,
  };
}

function average(sum: number, count: number): number {
  return count === 0 ? 0 : sum / count;
}
