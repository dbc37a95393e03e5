/**
 * Answer codes: what each says, and whether the request may have taken effect (`stored`): a send that failed with `maybe` can be
 * repeated only by who recognises repeats (an inbox, a producer sequence); after `no` anyone may. `yes`: it has.
 */
const rows = {
  SUCCESS: row(0, 'yes', 'Done.'),
  SYSTEM_ERROR: row(1, 'maybe', 'The other side failed; the remark says how.'),
  SYSTEM_BUSY: row(2, 'no', 'Flow control: refused before anything was done.'),
  REQUEST_CODE_NOT_SUPPORTED: row(3, 'no', 'The other side does not know this command.'),
  TRANSACTION_FAILED: row(4, 'maybe', 'A transaction step failed.'),
  FLUSH_DISK_TIMEOUT: row(10, 'maybe', 'Appended, but the disk did not confirm in time.'),
  SLAVE_NOT_AVAILABLE: row(11, 'maybe', 'Appended, but no replica was there.'),
  FLUSH_SLAVE_TIMEOUT: row(12, 'maybe', 'Appended, but the replica did not confirm in time.'),
  MESSAGE_ILLEGAL: row(13, 'no', 'The message breaks a limit of size or form.'),
  SERVICE_NOT_AVAILABLE: row(14, 'no', 'The store takes nothing now: full or stopping.'),
  VERSION_NOT_SUPPORTED: row(15, 'no', 'The caller is too old for this command.'),
  NO_PERMISSION: row(16, 'no', 'Forbidden for this topic, group or caller.'),
  TOPIC_NOT_EXIST: row(17, 'no', 'No such topic, and it is not made automatically.'),
  TOPIC_EXIST_ALREADY: row(18, 'no', 'The topic exists.'),
  PULL_NOT_FOUND: row(19, 'no', 'Nothing at this offset yet.'),
  PULL_RETRY_IMMEDIATELY: row(20, 'no', 'Nothing here matched; go on at the next offset given.'),
  PULL_OFFSET_MOVED: row(21, 'no', 'The offset is outside of the queue; go on at the next offset given.'),
  QUERY_NOT_FOUND: row(22, 'no', 'Nothing found.'),
  SUBSCRIPTION_PARSE_FAILED: row(23, 'no', 'The subscription expression does not parse.'),
  SUBSCRIPTION_NOT_EXIST: row(24, 'no', 'The group has no such subscription; a heartbeat brings it.'),
  SUBSCRIPTION_NOT_LATEST: row(25, 'no', "The known subscription is older than the caller's."),
  SUBSCRIPTION_GROUP_NOT_EXIST: row(26, 'no', 'No such consumer group.'),
  FILTER_DATA_NOT_EXIST: row(27, 'no', 'No filter is known for this group.'),
  FILTER_DATA_NOT_LATEST: row(28, 'no', 'The known filter is too old.'),
  INVALID_PARAMETER: row(29, 'no', 'A parameter is out of range.'),
  TRANSACTION_SHOULD_COMMIT: row(200, 'no', 'Check-back: commit.'),
  TRANSACTION_SHOULD_ROLLBACK: row(201, 'no', 'Check-back: roll back.'),
  TRANSACTION_STATE_UNKNOW: row(202, 'no', 'Check-back: not known yet.'),
  TRANSACTION_STATE_GROUP_WRONG: row(203, 'no', 'Check-back: not a producer of that group.'),
  NO_BUYER_ID: row(204, 'no', 'A routing property is missing.'),
  NOT_IN_CURRENT_UNIT: row(205, 'no', 'The message belongs to another unit.'),
  CONSUMER_NOT_ONLINE: row(206, 'no', 'No consumer of the group is connected.'),
  CONSUME_MSG_TIMEOUT: row(207, 'maybe', 'The consumer did not answer in time.'),
  NO_MESSAGE: row(208, 'no', 'No such message.'),
  POLLING_FULL: row(209, 'no', 'Too many waiting polls.'),
  POLLING_TIMEOUT: row(210, 'no', 'The poll waited its time.'),
  BROKER_NOT_EXIST: row(211, 'no', 'No such broker.'),
  BROKER_DISPATCH_NOT_COMPLETE: row(212, 'no', 'The broker has not finished indexing.'),
  BROADCAST_CONSUMPTION: row(213, 'no', 'The group consumes by broadcast and has no stored offsets.'),
  FLOW_CONTROL: row(215, 'no', 'The consumer is asked to slow down.'),
  NOT_LEADER_FOR_QUEUE: row(501, 'no', 'The queue lives elsewhere.'),
  ILLEGAL_OPERATION: row(604, 'no', 'Not allowed in this state.'),
  GO_AWAY: row(1500, 'no', 'The other side is stopping: open a new connection and ask there.'),
} as const;

export type Stored = 'no' | 'maybe' | 'yes';

export interface ResponseRow<C extends number = number> {
  readonly code: C;
  readonly stored: Stored;
  readonly sentence: string;
}

export type ResponseName = keyof typeof rows;

/** All rows by name. */
export const RESPONSES: Readonly<Record<ResponseName, ResponseRow>> = rows;

/** Numbers by name: `ResponseCode.SYSTEM_BUSY === 2`. */
export const ResponseCode = Object.fromEntries(Object.entries(rows).map(([name, { code }]) => [name, code])) as {
  readonly [N in ResponseName]: (typeof rows)[N]['code'];
};

/** The row of a code on the wire; undefined for one that nobody knows, which must be taken as `maybe`. */
export function responseRow(code: number): (ResponseRow & { readonly name: ResponseName }) | undefined {
  return byCode.get(code);
}

/** Whether a send that was answered with this code may have been stored. */
export function storedAfter(code: number): Stored {
  return byCode.get(code)?.stored ?? 'maybe';
}

const byCode = new Map(
  Object.entries(rows).map(([name, found]) => [found.code as number, { ...found, name: name as ResponseName }]),
);

function row<C extends number>(code: C, stored: Stored, sentence: string): ResponseRow<C> {
  return { code, stored, sentence };
}
