/**
 * What a broker's answer says of a batch: receipts, and the errors that have one all the same. A plain acknowledgement is read out of its
 * bytes, any other answer by its header. A run's receipts share what is equal in them.
 */
import { type Frame, SendAck, SendAnswerLocator } from '@tallystick/remoting';
import { IndefiniteError, type SendError, answerError, fail } from '../errors.ts';
import type { ProducerBatch } from './producer-batch.ts';
import { type BatchAnswer, SendReceipt } from './receipt.ts';

export class AnswerReader {
  readonly #header = new SendAnswerLocator();
  readonly #ack = new SendAck();

  /** Whether the bytes are a plain acknowledgement: `acknowledged` then makes a receipt of it. */
  readsAck(bytes: Buffer, at: number, end: number): boolean {
    return this.#ack.read(bytes, at, end);
  }

  /** The receipt of one frame of a run. */
  acknowledged(batch: ProducerBatch, index: number): SendReceipt {
    const ack = this.#ack;
    let answer = batch.answer;
    if (
      answer === undefined ||
      answer.storeTimestamp !== ack.storeTimestamp ||
      answer.queueId !== ack.queueId ||
      answer.host !== ack.host
    ) {
      answer = answerOf(batch, ack.queueId, ack.storeTimestamp, 0, '', ack.host);
      batch.answer = answer;
    }
    return new SendReceipt(
      answer,
      ack.queueOffset,
      ack.positionHigh,
      ack.positionLow,
      batch.idPrefix(index),
      batch.idLows[index]!,
    );
  }

  /** The header of an answer to a send; undefined when it cannot be read, see `malformed`. */
  read(batch: ProducerBatch, reply: Frame): BatchAnswer | undefined {
    const header = this.#header;
    if (!header.locate(reply)) return undefined;
    return answerOf(batch, header.queueId(), header.storeTimestamp(), header.queueOffset(), header.msgId(), '');
  }

  /** The error for the answer that could not be read last. */
  malformed(): SendError {
    return fail('MALFORMED_ANSWER', this.#header.fault());
  }

  receipt(batch: ProducerBatch, index: number, said: BatchAnswer): SendReceipt {
    return new SendReceipt(said, said.baseOffset, 0, 0, batch.idPrefix(index), batch.idLows[index]!);
  }

  /** The error for an answer that is no success. Codes 10 to 12 say where the message is all the same. */
  refusal(batch: ProducerBatch, index: number, reply: Frame): SendError {
    const error = answerError(reply.code, reply.remark());
    if (!(error instanceof IndefiniteError) || (batch.frames === undefined && batch.count !== 1)) return error;
    const said = this.read(batch, reply);
    if (said !== undefined) error.receipt = this.receipt(batch, index, said);
    return error;
  }
}

/** For a batch that is stored, but nobody knows any more where. */
export function storedSomewhere(batch: ProducerBatch): BatchAnswer {
  return answerOf(batch, batch.lane.queueId, -1, -1, '', '');
}

function answerOf(
  batch: ProducerBatch,
  queueId: number,
  storeTimestamp: number,
  baseOffset: number,
  offsetIds: string,
  host: string,
): BatchAnswer {
  const { topic, brokerName } = batch.lane;
  const { address } = batch.connection!;
  return { topic, brokerName, address, queueId, storeTimestamp, baseOffset, offsetIds, host };
}
