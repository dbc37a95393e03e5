/**
 * A delivery as the inbox's table keeps it, and back. Deliveries come from anybody: what does not fit a column (too long, a NUL) is
 * shortened there and kept whole beside the headers, because a message that could not even be kept would come again for ever.
 */
import { createHash } from 'node:crypto';
import { headersFromText, headersText } from '../outbox/message.ts';
import { ID_PATTERN, shardOf } from '../outbox/message-id.ts';
import { asBytes, asNumber, asText, asTextOrNull } from '../sql/values.ts';
import type { Delivery } from '../transports/transport.ts';
import type { Failure } from './failure.ts';

/** A row that waits for an attempt. */
export interface KeptRow {
  readonly sequence: number;
  readonly shard: number;
  readonly id: string;
  readonly state: string;
  readonly type: string | undefined;
  readonly topic: string;
  readonly key: string | undefined;
  /** The key in whose order it stands. */
  readonly orderKey: string | undefined;
  readonly tag: string | undefined;
  readonly attempts: number;
  readonly tries: number;
  readonly started: number;
  readonly dueAt: number;
  readonly createdAt: number;
}

/** What is read of a row. */
export const KEPT_COLUMNS = [
  'sequence',
  'shard',
  'id',
  'state',
  'message_type',
  'topic',
  'business_key',
  'message_key',
  'tag',
  'attempts',
  'tries',
  'started',
  'due_at',
  'created_at',
] as const;

/** The head of a row that is to be kept. */
export interface Kept {
  readonly id: string;
  readonly consumer: string;
  readonly shard: number;
  /** Null unless later messages of the key shall wait. */
  readonly key: string | null;
  readonly topic: string;
  readonly tag: string | null;
  readonly type: string;
  readonly businessKey: string | null;
  readonly state: string;
  readonly attempts: number;
  readonly tries: number;
  readonly started: number;
  /** From now. */
  readonly waitMs: number;
  readonly outcome: string | null;
  readonly reason: string | null;
  readonly bytes: number;
  readonly now: number;
}

/** A delivery under the id by which the inbox knows it. */
export interface KnownDelivery extends Delivery {
  /** The id that its sender gave it, where that is another one, or none that could be used. */
  readonly serial?: string | undefined;
}

/** Name under which what the columns do not hold lies among the stored headers. */
const BESIDE = 'tallystick-delivery';

interface Beside {
  readonly id?: string | undefined;
  readonly topic?: string | undefined;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly type?: string | undefined;
  readonly sentAt?: number | undefined;
}

const TEXT_MAX = { topic: 255, key: 255, tag: 255, type: 64 };

/** `ordered`: later messages of its key shall wait for it. */
export function headOf(
  delivery: Delivery,
  place: { readonly consumer: string; readonly now: number },
  ordered: boolean,
  past: Omit<Failure, 'state' | 'outcome' | 'reason'> & {
    readonly state: string;
    readonly started: number;
    readonly outcome: string | null;
    readonly reason: string | null;
  },
): Kept {
  const key = delivery.key === undefined ? null : keyText(delivery.key);
  return {
    id: delivery.id,
    ...past,
    ...place,
    shard: shardOf(key, delivery.id),
    key: ordered ? key : null,
    businessKey: key,
    topic: fitting(delivery.topic, TEXT_MAX.topic),
    tag: delivery.tag === undefined ? null : fitting(delivery.tag, TEXT_MAX.tag),
    type: typeText(delivery.type),
    bytes: delivery.body.length,
  };
}

export function typeText(type: string | undefined): string {
  return fitting(type ?? '', TEXT_MAX.type);
}

export function keyText(key: string): string {
  return fitting(key, TEXT_MAX.key);
}

export function topicText(topic: string): string {
  return fitting(topic, TEXT_MAX.topic);
}

/** The same text where it fits, else its beginning and a digest of the whole. */
export function fitting(text: string, max: number): string {
  if (text.length <= max && !text.includes('\0')) return text;
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 32);
  return `${text.replaceAll('\0', '').slice(0, max - 33)}#${digest}`;
}

/** Headers as they are stored, with what the columns do not hold. */
export function besideText(delivery: KnownDelivery): string | null {
  const beside: Beside = {
    ...(delivery.serial === undefined ? {} : { id: delivery.serial }),
    ...unfitting('topic', delivery.topic),
    ...unfitting('key', delivery.key),
    ...unfitting('tag', delivery.tag),
    ...unfitting('type', delivery.type),
    ...(delivery.sentAt === undefined ? {} : { sentAt: delivery.sentAt }),
  };
  if (Object.keys(beside).length === 0) return headersText(delivery.headers);
  return headersText(new Map([...delivery.headers, [BESIDE, JSON.stringify(beside)]]));
}

function unfitting(name: keyof typeof TEXT_MAX, value: string | undefined): Beside {
  return value === undefined || fitting(value, TEXT_MAX[name]) === value ? {} : { [name]: value };
}

export function keptRow(row: Readonly<Record<string, unknown>>): KeptRow {
  const type = asText(row['message_type']);
  return {
    sequence: asNumber(row['sequence']),
    shard: asNumber(row['shard']),
    id: asText(row['id']),
    state: asText(row['state']),
    type: type === '' ? undefined : type,
    topic: asText(row['topic']),
    key: asTextOrNull(row['business_key']) ?? undefined,
    orderKey: asTextOrNull(row['message_key']) ?? undefined,
    tag: asTextOrNull(row['tag']) ?? undefined,
    attempts: asNumber(row['attempts']),
    tries: asNumber(row['tries']),
    started: asNumber(row['started']),
    dueAt: asNumber(row['due_at']),
    createdAt: asNumber(row['created_at']),
  };
}

/** The delivery of a row, from its head and its body's row. */
export function deliveryOf(row: KeptRow, body: Readonly<Record<string, unknown>>): KnownDelivery {
  const headers = new Map(headersFromText(asTextOrNull(body['headers'])));
  const beside = besideFrom(headers.get(BESIDE));
  headers.delete(BESIDE);
  return {
    id: row.id,
    serial: beside.id,
    topic: beside.topic ?? row.topic,
    key: beside.key ?? row.key,
    tag: beside.tag ?? row.tag,
    type: beside.type ?? row.type,
    headers,
    body: asBytes(body['body']),
    redelivered: true,
    sentAt: beside.sentAt,
  };
}

/** When its sender says that a kept message was made, from its stored headers. */
export function sentAtFrom(headers: string | null): number | undefined {
  return besideFrom(new Map(headersFromText(headers)).get(BESIDE)).sentAt;
}

function besideFrom(text: string | undefined): Beside {
  try {
    return (JSON.parse(text ?? '{}') ?? {}) as Beside;
  } catch {
    return {};
  }
}

/** When the sender made the message, as far as anybody can tell: it says so, or its id does. */
export function madeAt({ id, sentAt }: Pick<Delivery, 'id' | 'sentAt'>): number | undefined {
  if (sentAt !== undefined && Number.isFinite(sentAt)) return sentAt;
  return ID_PATTERN.test(id) && id[12] === '7' ? Number.parseInt(id.slice(0, 12), 16) : undefined;
}
