import {
  ResponseCode,
  decodeHeader,
  type CommandName,
  type FieldValues,
  type Frame,
  type FrameBody,
  type Header,
  type Peer,
  type ReplyRef,
} from '@tallystick/remoting';
import type { Counters } from '../counters.ts';
import type { AppendOutcome } from '../store/store-types.ts';
import { OVERLOAD_TEXT } from '../flow-control/busy-texts.ts';

/** Serves one request. The frame is valid during the call only. */
export type Handler = (peer: Peer, frame: Frame) => void;

/** Handlers by the names of the command table; a name that is not there does not compile. */
export type HandlerTable = { readonly [N in CommandName]?: Handler };

/** The answer to one cold request; may be given after the frame is gone. A one-way request is answered by nothing. */
export class Reply {
  readonly peer: Peer;
  readonly #ref: ReplyRef;

  constructor(peer: Peer, ref: ReplyRef) {
    this.peer = peer;
    this.#ref = ref;
  }

  get isOneway(): boolean {
    return this.#ref.oneway;
  }

  ok(fields?: FieldValues, body?: FrameBody, remark?: string): void {
    this.peer.answer(this.#ref, ResponseCode.SUCCESS, remark, fields, body);
  }

  json(value: unknown, fields?: FieldValues): void {
    this.ok(fields, Buffer.from(JSON.stringify(value), 'utf8'));
  }

  fail(code: number, text: string, fields?: FieldValues): void {
    this.peer.answer(this.#ref, code, text, fields);
  }

  /** Answers as an append ended: 0, or what {@link appendFailure} says. */
  appended(outcome: AppendOutcome): void {
    if (outcome === 'ok') this.ok();
    else this.fail(appendFailure(outcome).code, appendFailure(outcome).text);
  }
}

/** A handler of a cold command: its header as an object; a header that does not fit is answered with 1 and the field's name. */
export function cold<N extends CommandName>(name: N, run: (header: Header<N>, reply: Reply, frame: Frame) => void): Handler {
  return (peer, frame) => {
    const reply = new Reply(peer, frame.ref());
    const header = decodeHeader(name, frame);
    if (typeof header === 'string') reply.fail(ResponseCode.SYSTEM_ERROR, `${name}: ${header}`);
    else run(header, reply, frame);
  };
}

/** Counts a send that the store did not take, or perhaps did not. */
export function countFailure(counters: Counters, outcome: AppendOutcome): void {
  if (outcome === 'timeout') {
    counters.sendTimeouts++;
    return;
  }
  counters.sendsRefused++;
  if (outcome === 'full') counters.diskFull++;
  if (outcome !== 'busy') return;
  counters.busy++;
  counters.busyStore++;
}

/** How an append that did not become `ok` is told: code and words of RocketMQ, chosen so that the code says whether it may be stored. */
export function appendFailure(outcome: AppendOutcome): { readonly code: number; readonly text: string } {
  switch (outcome) {
    case 'busy':
      return { code: ResponseCode.SYSTEM_BUSY, text: OVERLOAD_TEXT };
    case 'full':
      return {
        code: ResponseCode.SERVICE_NOT_AVAILABLE,
        text: "service not available now. It may be caused by one of the following reasons: the broker's disk is full",
      };
    case 'closed':
      return { code: ResponseCode.SERVICE_NOT_AVAILABLE, text: 'service not available now. The broker is shutting down' };
    case 'too-large':
      return { code: ResponseCode.MESSAGE_ILLEGAL, text: 'the message is illegal, it does not fit a log segment' };
    case 'timeout':
      return { code: ResponseCode.SYSTEM_ERROR, text: 'the disk did not confirm in time; the message may have been stored' };
    default:
      return { code: ResponseCode.SYSTEM_ERROR, text: 'the store has failed; the message may have been stored' };
  }
}

/** RocketMQ's words for a topic that is not there. */
export function topicNotExist(topic: string): string {
  return `topic[${topic}] not exist, apply first please!\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.`;
}
