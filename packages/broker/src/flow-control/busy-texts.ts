/**
 * What a client is told when the broker is busy: RocketMQ's words, all with code 2. Clients, tools and people search for the word in
 * brackets, so nothing about them may change.
 */

/** At arrival: the page cache is busy, or the transient store pool has no buffer left. Nothing was queued. */
export const REJECT_TEXT = '[REJECTREQUEST]system busy, start flow control for a while';

/** The request's lane is full. (The "too many requests" of RocketMQ's log never was on the wire.) */
export const OVERLOAD_TEXT = '[OVERLOAD]system busy, start flow control for a while';

/** At the put itself, for a request that had passed the door before. */
export const PUT_BUSY_TEXT = '[PC_SYNCHRONIZED]broker busy, start flow control for a while';

/** The name of the store's answer, which a message that is given back (36) gets with code 1 instead. */
export const PUT_BUSY_STATUS = 'OS_PAGE_CACHE_BUSY';

/** Fast failure took the request out of its lane: the page cache is busy, or the request has waited too long. */
export function cleanedText(cause: 'PCBUSY' | 'TIMEOUT', waitedMs: number, left: number): string {
  return `[${cause}_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: ${Math.floor(waitedMs)}ms, size of queue: ${left}`;
}
