/**
 * A batch as a request: code 320 when it has several records, 310 when it has one, whose body and properties are slices of its
 * batch element. The encoders (constant fields made once) are kept per queue; a retried message, which is rare, takes the generic way.
 */
import { readI32, readU16 } from '@tallystick/base';
import { type Peer, type ReplySink, RequestCode, SendRequests, emptySendRequest } from '@tallystick/remoting';
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
  readonly #send = emptySendRequest();

  constructor(options: SendRequestOptions) {
    this.#options = options;
  }

  /** Sends a batch; the verdict goes to `sink` with `token`, never inside this call. The batch's bytes are copied. */
  send(peer: Peer, batch: ProducerBatch, timeoutMs: number, sink: ReplySink, token: number): void {
    const send = this.#send;
    const { buffer, marks, lane } = batch;
    send.sysFlag = batch.sysFlag;
    send.bornTimestamp = batch.bornTimestamp;
    send.reconsumeTimes = marks === undefined ? 0 : marks.reconsumeTimes;
    send.body = send.properties = buffer;
    if (batch.count > 1) {
      send.bodyStart = send.propertiesStart = send.propertiesEnd = 0;
      send.bodyEnd = batch.end;
      lane.several ??= this.#encoder(lane, true);
      peer.requestWith(lane.several, send, timeoutMs, sink, token);
      return;
    }
    send.bodyStart = BODY_AT;
    send.bodyEnd = BODY_AT + readI32(buffer, BODY_LENGTH_AT);
    send.propertiesStart = send.bodyEnd + 2;
    send.propertiesEnd = send.propertiesStart + readU16(buffer, send.bodyEnd);
    if (marks?.maxReconsumeTimes !== undefined)
      return this.#sendRetried(peer, batch, marks.maxReconsumeTimes, timeoutMs, sink, token);
    lane.single ??= this.#encoder(lane, false);
    peer.requestWith(lane.single, send, timeoutMs, sink, token);
  }

  #encoder(lane: Lane, batch: boolean): SendRequests {
    const { topic, queueId, brokerName } = lane;
    const { group, defaultQueues } = this.#options;
    return new SendRequests({
      producerGroup: group,
      topic,
      queueId,
      brokerName,
      batch,
      defaultTopic: DEFAULT_TOPIC,
      defaultTopicQueueNums: defaultQueues,
    });
  }

  /** With the one field (l) that the fast encoder does not know. */
  #sendRetried(
    peer: Peer,
    batch: ProducerBatch,
    maxReconsumeTimes: number,
    timeoutMs: number,
    sink: ReplySink,
    token: number,
  ): void {
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
    peer.requestTo(
      RequestCode.SEND_MESSAGE_V2,
      fields,
      batch.buffer.subarray(send.bodyStart, send.bodyEnd),
      timeoutMs,
      sink,
      token,
    );
  }
}
