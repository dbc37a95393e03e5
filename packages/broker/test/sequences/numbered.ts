import { BATCH_FIXED_BYTES, encodeBatchElement, encodeProperties, RequestCode, wireFields } from '@tallystick/remoting';
import type { Answer, TestClient } from '../broker-stage.ts';

export const PRODUCER = 'A1'.repeat(16);

export function mark(sequence: number, epoch = 0, producer = PRODUCER): string {
  return `${producer}:${String(epoch).padStart(5, '0')}:${String(sequence).padStart(12, '0')}`;
}

export interface Numbered {
  readonly sequence: number;
  readonly epoch?: number;
  readonly producer?: string;
  readonly topic?: string;
  readonly queueId?: number;
  /** More properties behind the mark. */
  readonly props?: Record<string, string>;
}

/** Sends one numbered message; does not wait for the answer. */
export function beginOne(client: TestClient, body: string, numbered: Numbered): { answer?: Answer; error?: string } {
  const { sequence, epoch, producer, topic = 'orders', queueId = 0, props } = numbered;
  const header = client.sendHeader(topic, { queueId, props: { TS_SEQ: mark(sequence, epoch, producer), ...props } });
  return client.begin('SEND_MESSAGE_V2', header, Buffer.from(body));
}

/** Sends several messages as one numbered request. */
export function beginBatch(
  client: TestClient,
  bodies: readonly string[],
  numbered: Numbered,
): { answer?: Answer; error?: string } {
  const { sequence, epoch, producer, topic = 'orders', queueId = 0, props } = numbered;
  const elements = bodies.map((body, index) => {
    const first: Record<string, string> = index === 0 ? { TS_SEQ: mark(sequence, epoch, producer), ...props } : {};
    const properties = encodeProperties(Object.entries({ ...first, UNIQ_KEY: `K${sequence}-${index}` }));
    const bytes = Buffer.alloc(BATCH_FIXED_BYTES + body.length + properties.length);
    encodeBatchElement(bytes, 0, 0, Buffer.from(body), properties);
    return bytes;
  });
  const header = client.sendHeader(topic, { queueId, batch: true });
  return client.ask(RequestCode.SEND_BATCH_MESSAGE, wireFields('SEND_MESSAGE_V2', header), Buffer.concat(elements));
}

export function one(client: TestClient, body: string, numbered: Numbered): Answer {
  return waited(client, beginOne(client, body, numbered));
}

export function batch(client: TestClient, bodies: readonly string[], numbered: Numbered): Answer {
  return waited(client, beginBatch(client, bodies, numbered));
}

export function waited(client: TestClient, waiting: { answer?: Answer; error?: string }): Answer {
  client.stage.until(() => waiting.answer !== undefined || waiting.error !== undefined);
  if (waiting.answer === undefined) throw new Error(`no answer: ${waiting.error}`);
  return waiting.answer;
}

/** What an answer says of where its messages lie. */
export function placeOf(answer: Answer): Record<string, string | undefined> {
  const { fields } = answer;
  return {
    code: String(answer.code),
    msgId: fields.get('msgId'),
    queueId: fields.get('queueId'),
    queueOffset: fields.get('queueOffset'),
    transactionId: fields.get('transactionId'),
    storeTimestamp: fields.get('storeTimestamp'),
  };
}
