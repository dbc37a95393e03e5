/** The benchmark's rows: what is measured in which mode. The command line may choose among them; it never changes a row. */

export interface Row {
  readonly work: 'produce' | 'transfer';
  readonly flush: 'sync' | 'async';
  /** single: one request per message; batch: callbacks over the accumulator; promise: `await send()` over the accumulator. */
  readonly mode: 'single' | 'promise' | 'batch';
  readonly header: 'binary' | 'json';
  readonly bytes: number;
  /** Messages without an acknowledgement at any moment. */
  readonly inFlight: number;
}

/** A row with what it showed. */
export interface MeasuredRow extends Row {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const produce = (flush: Row['flush'], mode: Row['mode'], header: Row['header'], bytes: number, inFlight: number): Row => ({
  work: 'produce',
  flush,
  mode,
  header,
  bytes,
  inFlight,
});

export const PRODUCE_ROWS: readonly Row[] = [
  produce('async', 'batch', 'binary', 100, 1024),
  produce('async', 'batch', 'binary', 100, 8192),
  produce('async', 'promise', 'binary', 100, 1024),
  produce('async', 'single', 'binary', 100, 1024),
  produce('async', 'single', 'json', 100, 1024),
  produce('async', 'single', 'binary', 100, 1),
  produce('async', 'batch', 'binary', 1024, 1024),
  produce('sync', 'batch', 'binary', 100, 1024),
  produce('sync', 'promise', 'binary', 100, 1024),
  produce('sync', 'single', 'binary', 100, 1024),
  produce('sync', 'single', 'json', 100, 1024),
  produce('sync', 'single', 'binary', 100, 1),
  produce('sync', 'batch', 'binary', 1024, 1024),
];

export const TRANSFER_ROWS: readonly Row[] = [
  { work: 'transfer', flush: 'sync', mode: 'batch', header: 'binary', bytes: 100, inFlight: 256 },
  { work: 'transfer', flush: 'async', mode: 'batch', header: 'binary', bytes: 100, inFlight: 256 },
];
