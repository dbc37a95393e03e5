/**
 * The body of one pull's answer: whole records, looked over when they came, each read again when a handler takes its message. The
 * bytes live as long as one of their messages does.
 */
import { viewStoredMessage } from '@tallystick/remoting';
import { ReceivedMessage } from '../message/received-message.ts';
import type { MessageSource } from './process-queue.ts';

export class PulledRecords implements MessageSource<ReceivedMessage> {
  readonly #body: Buffer;
  readonly #brokerName: string;
  readonly #inflatedBytesMax: number;

  constructor(body: Buffer, brokerName: string, inflatedBytesMax: number) {
    this.#body = body;
    this.#brokerName = brokerName;
    this.#inflatedBytesMax = inflatedBytesMax;
  }

  messageAt(at: number): ReceivedMessage {
    const stored = viewStoredMessage(this.#body, at);
    if (typeof stored === 'string') throw new Error(`the record at byte ${at} was whole when it came: ${stored}`);
    return new ReceivedMessage(stored, this.#brokerName, this.#inflatedBytesMax);
  }
}
