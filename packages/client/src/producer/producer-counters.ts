/**
 * What a producer has done so far, as plain numbers that only grow: who wants rates takes differences. The engine (accumulator,
 * sender) adds to them once per batch or request, never per record; metrics and `inspect()` read them.
 */
export class ProducerCounters {
  /** Records and bytes taken out of the accumulator for their first attempt. */
  records = 0;
  bytes = 0;
  /** Requests written, repeated ones included. */
  requests = 0;
  /** Batches (or runs of single messages) at their first attempt, their records and bytes: averages are sum ÷ batches. */
  batches = 0;
  batchRecordsMax = 0;
  batchBytesMax = 0;
  /** From a batch's first record to its first attempt, summed per batch. */
  queueTimeMsSum = 0;
  queueTimeMsMax = 0;
  /** From a request's write to its answer. */
  answers = 0;
  answerTimeMsSum = 0;
  answerTimeMsMax = 0;
  /** Records that got a receipt. */
  acknowledged = 0;
  /** Records that failed, for whatever reason; of these: outcome unknown. */
  errors = 0;
  unknown = 0;
  /** Records put back for another attempt. */
  retries = 0;
  /** Batches cut in pieces because the broker found them too large. */
  splits = 0;
  /** Records whose delivery time was over before an attempt could be made. */
  expired = 0;
  /** Appends that found no memory. */
  exhausted = 0;
  /** Requests answered as duplicates of one stored before (idempotence). */
  duplicates = 0;
  /** Epochs begun anew after a batch was given up (idempotence). */
  epochs = 0;
}
