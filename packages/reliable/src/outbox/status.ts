/**
 * The ticket: what became of a message, asked by its serial number or by the business's own key. A settled message is deleted unless it is
 * kept for a while (`keepMs`), so `unknown` means settled and forgotten, or never committed; while it is kept the answer is `confirmed`.
 */
import type { Dialect } from '../sql/dialect.ts';
import { perDialect } from '../sql/dialect.ts';
import { hole, prepared, run, type Steps } from '../sql/statement.ts';
import { headWith, type RowState } from '../sql/tables.ts';
import { asNumber, asText, asTextOrNull } from '../sql/values.ts';

/**
 * - `waiting`, `delayed`, `retrying`, `dead`, `buried`: as the row's state;
 * - `sent`: the broker has it, the consumer's confirmation is missing;
 * - `confirmed`: settled; by whom, the type's `confirm` says;
 * - `unknown`: no row.
 */
export type MessageStatus = Exclude<RowState, 'done'> | 'unknown';

export interface StatusDetails {
  readonly id: string;
  readonly status: Exclude<MessageStatus, 'unknown'>;
  readonly type: string | undefined;
  readonly businessKey: string | undefined;
  readonly topic: string;
  readonly key: string | undefined;
  /** Failures of the message itself. */
  readonly attempts: number;
  /** Pushes that came back without a confirmation, whoever's fault. */
  readonly tries: number;
  readonly lastOutcome: string | undefined;
  readonly lastError: string | undefined;
  /** ms since 1970: when it is pushed next, or until when a confirmed one is kept; 0 at once. */
  readonly dueAt: number;
  readonly createdAt: number;
  readonly changedAt: number;
}

/** Of a serial number: at most one message. Of a business key: all of it, at most {@link STATUS_ROWS_MAX}, the newest first. */
export interface StatusAnswer {
  /** Of several messages the most troubled one's: see {@link STATUS_ORDER}. */
  readonly status: MessageStatus;
  readonly messages: readonly StatusDetails[];
}

export type StatusQuestion =
  { readonly id: string; readonly businessKey?: undefined } | { readonly businessKey: string; readonly id?: undefined };

/** What counts for a business key with several messages: the first of these that any of them is. */
export const STATUS_ORDER: readonly MessageStatus[] = [
  'dead',
  'retrying',
  'waiting',
  'delayed',
  'sent',
  'buried',
  'confirmed',
  'unknown',
];

export const STATUS_ROWS_MAX = 100;

export function* statusSteps(dialect: Dialect, channel: string, question: StatusQuestion): Steps<StatusAnswer> {
  const { byId, byBusinessKey } = statusStatements(dialect);
  const { rows } = yield* run(
    question.id === undefined
      ? byBusinessKey({ channel, businessKey: question.businessKey })
      : byId({ channel, id: question.id }),
  );
  const messages = rows.map(detailsOf);
  return { status: worst(messages.map(({ status }) => status)), messages };
}

function worst(statuses: readonly MessageStatus[]): MessageStatus {
  return STATUS_ORDER.find((status) => statuses.includes(status)) ?? 'unknown';
}

function detailsOf(row: Readonly<Record<string, unknown>>): StatusDetails {
  return {
    id: asText(row['id']),
    status: asText(row['state']) as StatusDetails['status'],
    type: asText(row['message_type']) || undefined,
    businessKey: asTextOrNull(row['business_key']) ?? undefined,
    topic: asText(row['topic']),
    key: asTextOrNull(row['message_key']) ?? undefined,
    attempts: asNumber(row['attempts']),
    tries: asNumber(row['tries']),
    lastOutcome: asTextOrNull(row['last_outcome']) ?? undefined,
    lastError: asTextOrNull(row['last_error']) ?? undefined,
    dueAt: asNumber(row['due_at']),
    createdAt: asNumber(row['created_at']),
    changedAt: asNumber(row['changed_at']),
  };
}

export const statusStatements = perDialect(({ build }) => {
  const rows = build
    .selectFrom('tallystick_outbox')
    .select([
      'id',
      'state',
      'message_type',
      'business_key',
      'topic',
      'message_key',
      'attempts',
      'tries',
      'last_outcome',
      'last_error',
      'due_at',
      'created_at',
      'changed_at',
    ]);
  return {
    byId: prepared<'channel' | 'id'>(rows.where(headWith('id', 'channel'))),
    byBusinessKey: prepared<'channel' | 'businessKey'>(
      rows
        .where('channel', '=', hole<string>('channel'))
        .where('business_key', '=', hole<string>('businessKey'))
        .orderBy('sequence', 'desc')
        .limit(STATUS_ROWS_MAX),
    ),
  };
});
