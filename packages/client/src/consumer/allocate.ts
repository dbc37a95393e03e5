/**
 * Which queues of a topic are mine: RocketMQ's averaging allocation. Every member of a group computes it alone from the same
 * sorted lists, so the rule must be the Java client's to the letter: contiguous runs, the first `queues mod members` members get
 * one more. Members that look for themselves in vain get nothing.
 */

/** The slice `[start, start + count)` of `queueCount` sorted queues that belongs to member `index` of `memberCount`. */
export function averageSlice(queueCount: number, memberCount: number, index: number): { start: number; count: number } {
  if (index < 0 || memberCount <= 0 || index >= memberCount) return { start: 0, count: 0 };
  const extra = queueCount % memberCount;
  const takesExtra = extra > 0 && index < extra;
  const share = queueCount <= memberCount ? 1 : Math.floor(queueCount / memberCount) + (takesExtra ? 1 : 0);
  const start = takesExtra ? index * share : index * share + extra;
  return { start, count: Math.max(0, Math.min(share, queueCount - start)) };
}

/** The queues of `self`. `queues` must be sorted by the caller; `members` is sorted here, by UTF-16 code units as Java does. */
export function allocateAverage<Q>(queues: readonly Q[], members: readonly string[], self: string): Q[] {
  const sorted = [...new Set(members)].sort();
  const { start, count } = averageSlice(queues.length, sorted.length, sorted.indexOf(self));
  return queues.slice(start, start + count);
}
