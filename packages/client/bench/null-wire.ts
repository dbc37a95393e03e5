/**
 * A dialer whose other side takes everything and acknowledges sends at once, in the shape of a broker's answers. It keeps its own time
 * apart (`spentMs`), so that a measurement can take it off.
 */
import type { Dialer, Wire } from '@tallystick/base';
import {
  emptySendAnswer,
  encodeTopicRoute,
  type Frame,
  FrameReader,
  Output,
  RequestCode,
  SendAnswers,
  writeFrame,
} from '@tallystick/remoting';

export class NullBroker implements Dialer {
  /** CPU time spent here, ms. */
  spentMs = 0;
  readonly #address: string;
  readonly #queues: number;
  readonly #answers = new SendAnswers(Buffer.from([127, 0, 0, 1, 0, 0, 0x26, 0x94]));
  readonly #answer = emptySendAnswer();
  readonly #positions = new Float64Array(100_000);
  #offset = 1_000_000;

  constructor(address: string, queues: number) {
    this.#address = address;
    this.#queues = queues;
    this.#answer.positions = this.#positions;
    this.#answer.transactionId = Buffer.from('0123456789ABCDEF0123456789ABCDEF');
    this.#answer.transactionIdEnd = 32;
  }

  dial(_address: string, done: (error: string | undefined, wire: Wire) => void): void {
    const out = new Output();
    const wire: Wire = {
      remote: this.#address,
      onBytes: () => {},
      onDrain: () => {},
      onClose: () => {},
      write: (chunk) => {
        const before = process.cpuUsage();
        reader.read(chunk);
        const { user, system } = process.cpuUsage(before);
        this.spentMs += (user + system) / 1000;
        if (!scheduled) setImmediate(deliver);
        scheduled = true;
        return true;
      },
      close: () => setImmediate(() => wire.onClose('closed')),
      pause: () => {},
      resume: () => {},
    };
    let scheduled = false;
    const deliver = (): void => {
      scheduled = false;
      out.take((chunk) => {
        // As a socket gives it: at most 64 KiB at a time.
        for (let at = 0; at < chunk.length; at += 65_536) wire.onBytes(chunk.subarray(at, Math.min(chunk.length, at + 65_536)));
      });
    };
    const reader = new FrameReader({ frameBytesMax: 1 << 24, headerBytesMax: 1 << 20 }, (frame) => this.#take(frame, out));
    setImmediate(() => done(undefined, wire));
  }

  #take(frame: Frame, out: Output): void {
    if (frame.isOneway) return;
    if (frame.code === RequestCode.SEND_MESSAGE_V2) return this.#acknowledge(frame, out, 1);
    if (frame.code === RequestCode.SEND_BATCH_MESSAGE) {
      let count = 0;
      for (let at = frame.bodyStart; at < frame.bodyEnd; at += frame.bytes.readInt32BE(at)) count++;
      return this.#acknowledge(frame, out, count);
    }
    const head = {
      kind: frame.headerKind,
      code: 0,
      flag: 1,
      opaque: frame.opaque,
      language: 12,
      version: 479,
      remark: undefined,
    };
    writeFrame(out, head, {}, frame.code === RequestCode.GET_ROUTEINFO_BY_TOPIC ? this.#route() : undefined);
  }

  #acknowledge(frame: Frame, out: Output, count: number): void {
    const answer = this.#answer;
    answer.count = count;
    answer.storeTimestamp = 1_800_000_000_000;
    answer.queueOffset = this.#offset;
    for (let n = 0; n < count; n++) this.#positions[n] = (this.#offset + n) * 266;
    this.#offset += count;
    this.#answers.encode(out, frame.headerKind, frame.opaque, answer);
  }

  #route(): Buffer {
    const size = { readQueueNums: this.#queues, writeQueueNums: this.#queues, perm: 6, topicSysFlag: 0 };
    return encodeTopicRoute({
      brokerDatas: [{ cluster: 'c', brokerName: 'broker-a', brokerAddrs: new Map([['0', this.#address]]) }],
      queueDatas: [{ brokerName: 'broker-a', ...size }],
    });
  }
}
