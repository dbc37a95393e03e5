import type { RowState } from '../sql/tables.ts';
import { asNumber, asText, asTextOrNull } from '../sql/values.ts';

/** A head row as people see it. Times are ms since 1970. */
export interface ListedRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly tag: string | null;
  /** '' when it has none, as is `module`. */
  readonly type: string;
  readonly module: string;
  readonly businessKey: string | null;
  readonly exchange: string | null;
  readonly exchangeType: string | null;
  readonly routingKey: string | null;
  readonly mode: string;
  readonly state: RowState;
  /** Failures of the message itself: what the cap counts. */
  readonly attempts: number;
  /** Pushes that came back without a confirmation, whoever's fault. */
  readonly tries: number;
  /** Inbox: attempts begun. Outbox: how often it was sent to a consumer that has yet to confirm it. */
  readonly started: number;
  readonly lastOutcome: string | null;
  readonly lastError: string | null;
  /** 0 when it is due at once. */
  readonly dueAt: number;
  readonly createdAt: number;
  readonly changedAt: number;
  readonly bodyBytes: number;
  /** 0 when the broker's confirmation settles it, else how long the consumer has. */
  readonly confirmWithinMs: number;
  readonly keepMs: number;
  /** Order of insertion. */
  readonly sequence: number;
}

export function listedRow(row: Readonly<Record<string, unknown>>): ListedRow {
  return {
    id: asText(row['id']),
    topic: asText(row['topic']),
    key: asTextOrNull(row['message_key']),
    tag: asTextOrNull(row['tag']),
    type: asText(row['message_type']),
    module: asText(row['module']),
    businessKey: asTextOrNull(row['business_key']),
    exchange: asTextOrNull(row['exchange']),
    exchangeType: asTextOrNull(row['exchange_type']),
    routingKey: asTextOrNull(row['routing_key']),
    mode: asText(row['mode']),
    state: asText(row['state']) as RowState,
    attempts: asNumber(row['attempts']),
    tries: asNumber(row['tries']),
    started: asNumber(row['started']),
    lastOutcome: asTextOrNull(row['last_outcome']),
    lastError: asTextOrNull(row['last_error']),
    dueAt: asNumber(row['due_at']),
    createdAt: asNumber(row['created_at']),
    changedAt: asNumber(row['changed_at']),
    bodyBytes: asNumber(row['body_bytes']),
    confirmWithinMs: asNumber(row['confirm_within']),
    keepMs: asNumber(row['keep_for']),
    sequence: asNumber(row['sequence']),
  };
}
