import { commandName, RequestCode, ResponseCode, type Frame, type Peer } from '@tallystick/remoting';
import type { TransactionEnds } from '../transaction/transaction-ends.ts';
import { adminHandlers } from './admin.ts';
import { clientHandlers } from './clients.ts';
import { EndTransaction } from './end-transaction.ts';
import { lockHandlers } from './locks.ts';
import { messageHandlers } from './messages.ts';
import { offsetHandlers } from './offsets.ts';
import type { Parts } from './parts.ts';
import { PullMessage } from './pull-message.ts';
import type { Handler, HandlerTable } from './reply.ts';
import { registrationHandlers } from './registration.ts';
import { routeHandlers } from './routes.ts';
import { SendBatch } from './send-batch.ts';
import { sendBackHandlers } from './send-back.ts';
import { SendMessage } from './send-message.ts';
import { SequencedSends } from './sequenced-sends.ts';
import { topicHandlers } from './topics.ts';

/**
 * From a request's code to who serves it. Every request that wants an answer gets one: an unknown code 3, a handler that throws 1
 * with what it threw. An array read per request: all codes with a handler are below 512.
 */
export class Registry {
  readonly #handlers: (Handler | undefined)[] = [];
  readonly #parts: Parts;
  readonly #ends: TransactionEnds;
  readonly #sequenced: SequencedSends;

  constructor(parts: Parts, ends: TransactionEnds) {
    this.#parts = parts;
    this.#ends = ends;
    const sequenced = (this.#sequenced = new SequencedSends(parts));
    const send = new SendMessage(parts, new SendBatch(parts, sequenced), sequenced);
    const pull = new PullMessage(parts);
    const end = new EndTransaction(parts, ends);
    const sending: Handler = (peer, frame) => send.handle(peer, frame);
    const pulling: Handler = (peer, frame) => pull.handle(peer, frame);
    this.#add({
      SEND_MESSAGE: sending,
      SEND_MESSAGE_V2: sending,
      SEND_BATCH_MESSAGE: sending,
      PULL_MESSAGE: pulling,
      LITE_PULL_MESSAGE: pulling,
      END_TRANSACTION: (peer, frame) => end.handle(peer, frame),
    });
    this.#add(sendBackHandlers(parts));
    this.#add(clientHandlers(parts));
    this.#add(offsetHandlers(parts));
    this.#add(routeHandlers(parts));
    this.#add(registrationHandlers(parts));
    this.#add(topicHandlers(parts));
    this.#add(lockHandlers(parts));
    this.#add(messageHandlers(parts));
    this.#add(adminHandlers(parts, parts.clock.now()));
  }

  /** So many confirmations are unfinished that the next ones wait in their lane. */
  get isFullOfEnds(): boolean {
    return this.#ends.isFull;
  }

  /** Requests that wait for a time of their own are refused. */
  stop(): void {
    this.#sequenced.stop();
  }

  handle(peer: Peer, frame: Frame): void {
    const handler = this.#handlers[frame.code];
    if (handler === undefined) {
      this.#parts.counters.faultyRequests++;
      return peer.answer(frame.ref(), ResponseCode.REQUEST_CODE_NOT_SUPPORTED, ` request type ${frame.code} not supported`);
    }
    try {
      handler(peer, frame);
    } catch (error) {
      this.#parts.counters.faultyRequests++;
      peer.answer(frame.ref(), ResponseCode.SYSTEM_ERROR, `${commandName(frame.code) ?? frame.code}: ${String(error)}`);
    }
  }

  #add(table: HandlerTable): void {
    for (const [name, handler] of Object.entries(table) as [keyof HandlerTable, Handler][])
      this.#handlers[RequestCode[name]] = handler;
  }
}
