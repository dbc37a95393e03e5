/** Reads a check-back (CHECK_TRANSACTION_STATE): the half message asked about and the numbers its answer must repeat. */
import { type Frame, PropertyName, viewStoredMessage } from '@tallystick/remoting';
import { ReceivedMessage } from '../message/received-message.ts';
import type { HalfName } from './end-request.ts';

export interface Check {
  readonly half: HalfName;
  readonly message: ReceivedMessage;
}

/** The check in a frame, copied out of it; a sentence when it cannot be read. */
export function readCheck(frame: Frame, inflatedBytesMax: number): Check | string {
  const stored = viewStoredMessage(Buffer.from(frame.body()));
  if (typeof stored === 'string') return stored;
  const fields = frame.fields();
  const position = Number(fields.get('commitLogOffset'));
  const halfOffset = Number(fields.get('tranStateTableOffset'));
  if (!Number.isSafeInteger(position) || !Number.isSafeInteger(halfOffset)) return 'the half message is not named by numbers';
  const group = stored.property(PropertyName.PRODUCER_GROUP) ?? '';
  const messageId = stored.uniqueKey || (fields.get('msgId') ?? '');
  const brokerName = fields.get('bname') ?? '';
  const half: HalfName = { group, topic: stored.topic, brokerName, messageId, position, halfOffset };
  return { half, message: new ReceivedMessage(stored, brokerName, inflatedBytesMax) };
}
