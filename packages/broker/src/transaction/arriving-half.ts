/**
 * What a sender says of the half message that is being appended, read out of its request already: the table of halves takes it from
 * here instead of passing over the record's properties a second time. One serves all halves.
 */
export class ArrivingHalf {
  group = '';
  /** Where the half belongs. */
  topic = '';
  /** The unique key: bytes [keyStart, keyEnd). */
  key: Buffer = Buffer.alloc(0);
  keyStart = 0;
  keyEnd = 0;
  /** Not positive: the sender does not mind being asked. */
  immunitySeconds = -1;
}
