/**
 * A claimed row as it comes from the database: as an object by column names from any driver, or as one binary row of COPY, in which bytes
 * are bytes. Both read the columns of `CLAIMED_COLUMNS` in their order, and headers and body after them when they were asked for.
 */
import { headersFromText } from '../outbox/message.ts';
import { asBytes, asNumber, asText, asTextOrNull } from '../sql/values.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import type { ClaimedRow, ClaimedState } from './batch.ts';
import { rangeOf } from './relay-statements.ts';

/** A row with what the relay knows beside it. */
export interface PageRow {
  readonly row: ClaimedRow;
  /** An earlier failed message of its key is known to hold it. */
  readonly held: boolean;
}

export interface ReadAs {
  readonly state: ClaimedState;
  /** Range → epoch, as this relay believes it. A row of any other range gets epoch -1. */
  readonly leases: ReadonlyMap<number, number>;
}

export function rowOfObject(from: Readonly<Record<string, unknown>>, { state, leases }: ReadAs): PageRow {
  const shard = asNumber(from['shard']);
  const range = rangeOf(shard);
  const row: ClaimedRow = {
    sequence: asNumber(from['sequence']),
    id: asText(from['id']),
    shard,
    key: asTextOrNull(from['message_key']),
    topic: asText(from['topic']),
    tag: asTextOrNull(from['tag']),
    state,
    attempts: asNumber(from['attempts']),
    tries: asNumber(from['tries']),
    dueAt: asNumber(from['due_at']),
    bodyBytes: asNumber(from['body_bytes']),
    createdAt: asNumber(from['created_at']),
    type: asText(from['message_type']),
    exchange: asTextOrNull(from['exchange']),
    exchangeType: asTextOrNull(from['exchange_type']),
    routingKey: asTextOrNull(from['routing_key']),
    confirmWithin: asNumber(from['confirm_within']),
    keepFor: asNumber(from['keep_for']),
    started: asNumber(from['started']),
    range,
    epoch: leases.get(range) ?? -1,
    message: undefined,
  };
  const body = from['body'];
  const complete = body === undefined || body === null ? row : withMessage(row, asTextOrNull(from['headers']), asBytes(body));
  return { row: complete, held: from['held'] === true || asNumber(from['held'] ?? 0) === 1 };
}

export function withMessage(row: ClaimedRow, headers: string | null, body: Uint8Array): ClaimedRow {
  return { ...row, message: messageOf(row, headers, body) };
}

export function messageOf(row: Omit<ClaimedRow, 'message'>, headers: string | null, body: Uint8Array): OutgoingMessage {
  return {
    id: row.id,
    topic: row.topic,
    key: row.key ?? undefined,
    tag: row.tag ?? undefined,
    headers: headers === null ? undefined : headersFromText(headers),
    body,
    type: row.type === '' ? undefined : row.type,
    exchange: row.exchange ?? undefined,
    exchangeType: row.exchangeType ?? undefined,
    routingKey: row.routingKey ?? undefined,
    createdAt: row.createdAt,
  };
}

/**
 * Rows of `copy … to stdout (format binary)`, in pieces that end where a row ends:
 *
 * ```
 * in front: PGCOPY\n\377\r\n\0 | flags u32 | extension bytes u32 | extension
 * row:      columns u16 | per column: bytes i32 (-1: null), value
 * end:      -1 i16
 * ```
 */
export class CopyReader {
  readonly #as: ReadAs;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  readonly #topic = new Repeated();
  readonly #type = new Repeated();

  constructor(as: ReadAs) {
    this.#as = as;
  }

  /** The rows of a piece; their bodies are views of it. Throws on what are no rows of ours. */
  read(bytes: Buffer, take: (row: ClaimedRow) => void): void {
    this.#bytes = bytes;
    this.#at = startsCopy(bytes) ? HEADER_BYTES + bytes.readInt32BE(HEADER_BYTES - 4) : 0;
    while (this.#at < bytes.length) {
      const columns = bytes.readInt16BE(this.#at);
      this.#at += 2;
      if (columns < 0) return;
      if (columns !== COLUMNS && columns !== COLUMNS_WITH_BODY) throw new Error(`COPY: ${columns} columns in a row`);
      take(this.#row(columns));
    }
  }

  #row(columns: number): ClaimedRow {
    const sequence = this.#big();
    const id = this.#text() ?? '';
    const shard = this.#small();
    const key = this.#text();
    const topic = this.#repeated(this.#topic) ?? '';
    const tag = this.#text();
    const attempts = this.#count();
    const tries = this.#count();
    const dueAt = this.#big();
    const bodyBytes = this.#count();
    const createdAt = this.#big();
    const type = this.#repeated(this.#type) ?? '';
    const exchange = this.#text();
    const exchangeType = this.#text();
    const routingKey = this.#text();
    const confirmWithin = this.#big();
    const keepFor = this.#big();
    const started = this.#count();
    const range = rangeOf(shard);
    const { state, leases } = this.#as;
    const epoch = leases.get(range) ?? -1;
    // prettier-ignore
    const row: { -readonly [K in keyof ClaimedRow]: ClaimedRow[K] } = {
      sequence, id, shard, key, topic, tag, state, attempts, tries, dueAt, bodyBytes, createdAt, type, exchange, exchangeType, routingKey,
      confirmWithin, keepFor, started, range, epoch, message: undefined,
    };
    if (columns === COLUMNS_WITH_BODY) {
      const headers = this.#text();
      const body = this.#value();
      if (body !== undefined) row.message = messageOf(row, headers, body);
    }
    return row;
  }

  /** A view of the next value; undefined for null. */
  #value(): Buffer | undefined {
    const length = this.#bytes.readInt32BE(this.#at);
    this.#at += 4;
    if (length < 0) return undefined;
    const from = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) throw new Error('COPY: a value reaches over the end of its row');
    return this.#bytes.subarray(from, this.#at);
  }

  #text(): string | null {
    const length = this.#bytes.readInt32BE(this.#at);
    this.#at += 4;
    if (length < 0) return null;
    const from = this.#at;
    this.#at += length;
    return this.#bytes.toString('utf8', from, this.#at);
  }

  #repeated(last: Repeated): string | null {
    const length = this.#bytes.readInt32BE(this.#at);
    this.#at += 4;
    if (length < 0) return null;
    const from = this.#at;
    this.#at += length;
    return last.read(this.#bytes, from, this.#at);
  }

  #big(): number {
    const value = this.#bytes.readInt32BE(this.#at + 4) * 4294967296 + this.#bytes.readUInt32BE(this.#at + 8);
    this.#at += 12;
    return value;
  }

  #count(): number {
    const value = this.#bytes.readInt32BE(this.#at + 4);
    this.#at += 8;
    return value;
  }

  #small(): number {
    const value = this.#bytes.readInt16BE(this.#at + 4);
    this.#at += 6;
    return value;
  }
}

const COLUMNS = 18;
const COLUMNS_WITH_BODY = 20;
const SIGNATURE = Buffer.from('PGCOPY\n\u00ff\r\n\0', 'latin1');
/** Signature, flags, length of the extension. */
const HEADER_BYTES = SIGNATURE.length + 8;

function startsCopy(bytes: Buffer): boolean {
  return (
    bytes.length >= HEADER_BYTES &&
    bytes[0] === SIGNATURE[0] &&
    bytes.compare(SIGNATURE, 0, SIGNATURE.length, 0, SIGNATURE.length) === 0
  );
}

/** A text that is mostly the same from row to row: the same bytes give the same string. */
class Repeated {
  #bytes: Buffer = Buffer.alloc(0);
  #text = '';

  read(from: Buffer, start: number, end: number): string {
    if (this.#bytes.length === end - start && this.#bytes.compare(from, start, end) === 0) return this.#text;
    this.#bytes = Buffer.from(from.subarray(start, end));
    this.#text = this.#bytes.toString('utf8');
    return this.#text;
  }
}
