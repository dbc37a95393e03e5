import { headersFromText } from '../outbox/message.ts';
import { run, pieces, type Steps } from '../sql/statement.ts';
import { asBytes, asNumber, asText, asTextOrNull } from '../sql/values.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import { Batch, type ClaimedRow, type InFlight } from './batch.ts';
import type { RelayStatements } from './relay-statements.ts';

/**
 * Claiming writes nothing: it reads due rows of the ranges held, page by page from the first, and takes what is not in the air. Every
 * claim begins at the beginning, so a row that became visible late is never skipped; pages only walk past rows that are busy.
 */
export interface ClaimOrder {
  readonly channel: string;
  readonly scope: string;
  readonly owner: string;
  readonly nowMs: number;
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly pagesMax: number;
  readonly flying: InFlight;
  /** Range → epoch, as this relay believes it. */
  readonly held: ReadonlyMap<number, number>;
}

/** Failed messages first (they hold their keys up), then those whose time has come, then the fresh ones. */
const CLAIMED_STATES = ['retrying', 'delayed', 'waiting'] as const;

export function* claimBatch(statements: RelayStatements, order: ClaimOrder): Steps<Batch> {
  const batch = new Batch(order.rowsMax, order.bytesMax);
  for (const state of CLAIMED_STATES) yield* claimState(statements, order, state, batch);
  return batch;
}

function* claimState(statements: RelayStatements, order: ClaimOrder, state: string, batch: Batch): Steps<void> {
  const { channel, scope, owner, nowMs, flying } = order;
  const limit = order.rowsMax + flying.ids.size;
  let after = { dueAt: 0, sequence: -1 };
  for (let page = 0; page < order.pagesMax && !batch.full; page++) {
    const { rows } = yield* run(
      statements.claim({ channel, state, scope, owner, now: nowMs, afterDue: after.dueAt, afterSequence: after.sequence, limit }),
    );
    for (const row of rows.map(claimedRow)) {
      after = row;
      // A range that changed hands and came back is claimed under its present epoch only.
      if (order.held.get(row.range) === row.epoch) batch.offer(row, flying);
    }
    if (rows.length < limit) return;
  }
}

function claimedRow(row: Readonly<Record<string, unknown>>): ClaimedRow {
  return {
    sequence: asNumber(row['sequence']),
    id: asText(row['id']),
    shard: asNumber(row['shard']),
    key: asTextOrNull(row['message_key']),
    topic: asText(row['topic']),
    tag: asTextOrNull(row['tag']),
    attempts: asNumber(row['attempts']),
    tries: asNumber(row['tries']),
    dueAt: asNumber(row['due_at']),
    bodyBytes: asNumber(row['body_bytes']),
    range: asNumber(row['first_shard']),
    epoch: asNumber(row['epoch']),
  };
}

/** The messages of claimed rows, by id. A row without a body is absent. */
export function* readMessages(
  statements: RelayStatements,
  channel: string,
  rows: readonly ClaimedRow[],
): Steps<Map<string, OutgoingMessage>> {
  const messages = new Map<string, OutgoingMessage>();
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const ids of pieces([...byId.keys()])) {
    const { rows: bodies } = yield* run(statements.bodies({ channel }, ids));
    for (const body of bodies) {
      const row = byId.get(asText(body['id']))!;
      const headers = headersFromText(asTextOrNull(body['headers']));
      messages.set(row.id, {
        id: row.id,
        topic: row.topic,
        key: row.key ?? undefined,
        tag: row.tag ?? undefined,
        headers,
        body: asBytes(body['body']),
      });
    }
  }
  return messages;
}
