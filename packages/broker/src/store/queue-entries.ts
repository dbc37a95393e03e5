/** Where the entries of one queue are: filled in next. */
export class QueueEntries {
  firstOffset(nextOffset: number): number {
    return nextOffset;
  }
}
