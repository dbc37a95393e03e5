/**
 * A batch as a request or as a run of them. Elements: code 320 when it has several records, 310 when it has one, whose body and properties are slices of its
 * batch element. The encoders (constant fields made once) are kept per queue; a retried message, which is rare, takes the generic way.
 */
import { readI32, readU16 } from '@tallystick/base';
import {
  BINARY_HEADER,
  type HeaderKind,
  JSON_HEADER,
  type Peer,
  RequestCode,
  SendFrames,
  SendRequests,
  type SendRoute,
  emptySendRequest,
} from '@tallystick/remoting';
import type { Lane, ProducerBatch } from './producer-batch.ts';

/** The topic whose settings a broker takes for a new topic. */
const DEFAULT_TOPIC = 'TBW102';
/** Places inside a batch element. */
const BODY_LENGTH_AT = 16;
const BODY_AT = 20;

export interface SendRequestOptions {
  readonly group: string;
  readonly defaultQueues: number;
}

export class SendRequest {
  readonly #options: SendRequestOptions;
  readonly #kind: HeaderKind;
  readonly #send = emptySendRequest();

  constructor(options: SendRequestOptions, header: 'binary' | 'json') {
    this.#options = options;
    this.#kind = header === 'binary' ? BINARY_HEADER : JSON_HEADER;
  }

  /** The template for single sends to a lane; made once per sysFlag. */
  frames(lane: Lane, sysFlag: number): SendFrames {
    for (const known of lane.frames) if (known.sysFlag === sysFlag) return known;
    const made = new SendFrames(this.#route(lane, false), this.#kind, sysFlag);
    lane.frames.push(made);
    return made;
  }

  /**
   * Sends a batch; its answers go to the batch, never inside this call. Its bytes are copied. False: the connection takes no run now,
   * nothing was sent (other batches are told as an answer).
   */
  send(peer: Peer, batch: ProducerBatch, timeoutMs: number): boolean {
    if (batch.frames !== undefined) return peer.requestFrames(batch.buffer, batch.end, batch.count, timeoutMs, batch);
    this.#sendElements(peer, batch, timeoutMs);
    return true;
  }

  #sendElements(peer: Peer, batch: ProducerBatch, timeoutMs: number): void {
    const send = this.#send;
    const { buffer, marks, lane } = batch;
    send.sysFlag = batch.sysFlag;
    send.bornTimestamp = batch.bornTimestamp;
    send.reconsumeTimes = marks === undefined ? 0 : marks.reconsumeTimes;
    send.body = send.properties = buffer;
    if (batch.count > 1) {
      send.bodyStart = send.propertiesStart = send.propertiesEnd = 0;
      send.bodyEnd = batch.end;
      lane.several ??= new SendRequests(this.#route(lane, true));
      peer.requestWith(lane.several, send, timeoutMs, batch, 0);
      return;
    }
    send.bodyStart = BODY_AT;
    send.bodyEnd = BODY_AT + readI32(buffer, BODY_LENGTH_AT);
    send.propertiesStart = send.bodyEnd + 2;
    send.propertiesEnd = send.propertiesStart + readU16(buffer, send.bodyEnd);
    if (marks?.maxReconsumeTimes !== undefined) return this.#sendRetried(peer, batch, marks.maxReconsumeTimes, timeoutMs);
    lane.single ??= new SendRequests(this.#route(lane, false));
    peer.requestWith(lane.single, send, timeoutMs, batch, 0);
  }

  #route(lane: Lane, batch: boolean): SendRoute {
    const { topic, queueId, brokerName } = lane;
    const { group, defaultQueues } = this.#options;
    return {
      producerGroup: group,
      topic,
      queueId,
      brokerName,
      batch,
      defaultTopic: DEFAULT_TOPIC,
      defaultTopicQueueNums: defaultQueues,
    };
  }

  /** With the one field (l) that the fast encoder does not know. */
  #sendRetried(peer: Peer, batch: ProducerBatch, maxReconsumeTimes: number, timeoutMs: number): void {
    const send = this.#send;
    const fields = {
      a: this.#options.group,
      b: batch.lane.topic,
      c: DEFAULT_TOPIC,
      d: this.#options.defaultQueues,
      e: batch.lane.queueId,
      f: send.sysFlag,
      g: send.bornTimestamp,
      h: 0,
      i: batch.buffer.toString('utf8', send.propertiesStart, send.propertiesEnd),
      j: send.reconsumeTimes,
      k: false,
      l: maxReconsumeTimes,
      m: false,
      n: batch.lane.brokerName,
    };
    const body = batch.buffer.subarray(send.bodyStart, send.bodyEnd);
    peer.requestTo(RequestCode.SEND_MESSAGE_V2, fields, body, timeoutMs, batch, 0);
  }
}
