/** What the broker counts since its start. Plain numbers, increased in place; shown by the CLI, the demo and the tests. */
export class Counters {
  /** Messages acknowledged to senders (halves included). */
  sends = 0;
  sendBytes = 0;
  /** Sends answered with an error. */
  sendsRefused = 0;
  /** Sends whose sync did not come in time: perhaps stored. */
  sendTimeouts = 0;
  /** Numbered sends that came again and were answered as the first time, not stored. */
  duplicateSends = 0;
  /** Numbered sends that were refused: out of order, too old, malformed. */
  sequenceRefusals = 0;
  halves = 0;
  commits = 0;
  rollbacks = 0;
  /** Second confirmations that did not fit the half they named, or contradicted its verdict. */
  endsRefused = 0;
  /** Second confirmations that repeated the verdict. */
  endsRepeated = 0;
  checksSent = 0;
  /** Halves parked since the start. */
  parked = 0;
  pulls = 0;
  /** Messages handed out by pulls. */
  pulledMessages = 0;
  pulledBytes = 0;
  sendBacks = 0;
  deadLetters = 0;
  delayedFired = 0;
  offsetCommits = 0;
  /** Sends refused because the disk is full (14). */
  diskFull = 0;
  /** Files of the store that could not be opened for want of a descriptor (EMFILE, ENFILE). */
  shortOfFiles = 0;
  /** Answered busy, for any of the causes that follow. */
  busy = 0;
  /** [REJECTREQUEST]: the page cache was busy at arrival. */
  busyPageCache = 0;
  /** [REJECTREQUEST]: the transient store pool had no buffer at arrival. */
  busyNoBuffer = 0;
  /** [OVERLOAD]: the lane was full, by number or by bytes. */
  busyQueueCount = 0;
  busyQueueBytes = 0;
  /** Too much is held for all connections together; told as `[OVERLOAD]`, too. */
  busyMemory = 0;
  /** [OVERLOAD]: the store had too much to write. */
  busyStore = 0;
  /** [OVERLOAD]: too many half messages are open, in all or of one group. */
  busyHalves = 0;
  /** [PC_SYNCHRONIZED]: the put saw a busy page cache. */
  busyAtPut = 0;
  /** [PCBUSY_CLEAN_QUEUE]: taken out of the lane while the page cache was busy. */
  busyCleanedPageCache = 0;
  /** [TIMEOUT_CLEAN_QUEUE]: taken out of the lane after the longest wait. */
  busyCleanedTimeout = 0;
  /** Requests that waited in a lane before they were served or refused. */
  queued = 0;
  /** Requests with a code or a header that was not understood. */
  faultyRequests = 0;
  connectionsOpened = 0;
  /** Connections that were not let in: too many in all, too many from one address. */
  refusedConnections = 0;
  refusedByAddress = 0;
  /** Connections closed because no whole request came, its beginning was too long, nothing came any more, or answers were not taken. */
  closedSilent = 0;
  closedLongFirst = 0;
  closedIdle = 0;
  closedOutput = 0;
  closedStalled = 0;
  /** Connections closed because too much was held for all of them together. */
  closedMemory = 0;
  /** Bytes held for all connections, as they were last looked at. */
  clientBytes = 0;
  connections = 0;
}
