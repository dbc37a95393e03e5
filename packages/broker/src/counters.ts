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
  /** Refused by flow control. */
  busy = 0;
  /** Requests with a code or a header that was not understood. */
  faultyRequests = 0;
  connectionsOpened = 0;
  connections = 0;
}
