/**
 * Frames for {@link file://./load.ts}: a pool as long as the window, all different (two topics of eight queues, own body, key and
 * header), laid end to end so that any number of them leaves as one or two slices. A frame is used again only after its answer, and
 * then gets its next opaque and unique key in place.
 */
import {
  encodeBatchElement,
  encodeProperties,
  Output,
  RequestCode,
  ResponseCode,
  SendAnswerLocator,
  writeFrame,
  FrameReader,
} from '@tallystick/remoting';

export type LoadKind = 'single' | 'batch' | 'half';

const TOPICS = ['bench-orders', 'bench-payments'] as const;
const QUEUES = 8;
const BATCH_BYTES = 32 * 1024;
const GROUP = 'bench-producers';
/** Opaques of ten digits, so that the next one fits where the last one was. */
const FIRST_OPAQUE = 1_000_000_000;

export class LoadFrames {
  readonly window: number;
  messagesPerFrame = 1;
  /** Frames handed out so far. */
  sent = 0;
  /** Answered busy: on a machine that is busy with other things the broker sheds load. */
  refused = 0;
  readonly #kind: LoadKind;
  readonly #isJson: boolean;
  readonly #pool: Buffer;
  readonly #starts: number[] = [];
  readonly #opaques: number[] = [];
  readonly #keys: number[] = [];
  readonly #reader: FrameReader;
  readonly #locator = new SendAnswerLocator();
  readonly #ends: Buffer;
  readonly #endBytes: number;
  #endsAt = 0;
  #commits = 0;
  #answered = 0;
  #fault: string | undefined;

  constructor(kind: LoadKind, header: 'binary' | 'json', bytes: number, window: number) {
    this.#kind = kind;
    this.#isJson = header === 'json';
    if (this.#isJson && kind === 'half') throw new Error('half runs with the binary header only');
    this.window = window;
    const out = new Output();
    const parts: Buffer[] = [];
    let at = 0;
    for (let n = 0; n < window; n++) {
      const frame = this.#frame(out, n, bytes);
      this.#starts.push(at);
      this.#opaques.push(at + (this.#isJson ? frame.indexOf('"opaque":') + 9 : 13));
      this.#keys.push(at + frame.indexOf(keyOf(n)) + 24);
      parts.push(frame);
      at += frame.length;
    }
    this.#starts.push(at);
    this.#pool = Buffer.concat(parts);
    const end = endFrame(out);
    this.#endBytes = end.length;
    this.#ends = Buffer.concat(Array.from({ length: 4 * window }, () => end));
    this.#reader = new FrameReader({ frameBytesMax: 1 << 24, headerBytesMax: 1 << 20 }, (frame) => {
      if (frame.code === ResponseCode.SYSTEM_BUSY) {
        this.refused++;
        this.#answered++;
      } else if (frame.code !== 0) this.#fault = `answered ${frame.code}: ${frame.remark() ?? ''}`;
      else if (this.#kind !== 'half') this.#answered++;
      else if (this.#locator.locate(frame)) {
        this.#answered++;
        this.#commit(this.#locator.msgId(), this.#locator.queueOffset(), this.#locator.transactionId());
      }
    });
  }

  /** The next `count` frames, in one or two pieces. */
  next(count: number, write: (chunk: Buffer) => void): void {
    const pool = this.#pool;
    for (let left = count; left > 0;) {
      const first = this.sent % this.window;
      const run = Math.min(left, this.window - first);
      for (let n = first; n < first + run; n++) {
        const opaque = (FIRST_OPAQUE + this.sent++) % 2_000_000_000;
        if (this.#isJson) decimal(pool, this.#opaques[n]!, 10, opaque);
        else pool.writeInt32BE(opaque, this.#opaques[n]);
        decimal(pool, this.#keys[n]!, 8, this.sent % 1e8);
      }
      write(pool.subarray(this.#starts[first], this.#starts[first + run]));
      left -= run;
    }
  }

  /** How many sends the chunk answers, or what is wrong with one. Commits of answered halves go to `write`. */
  answers(chunk: Buffer, write: (bytes: Buffer) => void): number | string {
    this.#answered = 0;
    const from = this.#endsAt;
    const fault = this.#reader.read(chunk) ?? this.#fault;
    if (fault !== undefined) return fault;
    if (this.#endsAt > from) write(this.#ends.subarray(from, this.#endsAt));
    if (this.#endsAt > this.#ends.length / 2) this.#endsAt = 0;
    return this.#answered;
  }

  #commit(messageId: string, offset: number, key: string): void {
    if (this.#endsAt + this.#endBytes > this.#ends.length)
      throw new Error('more answers in a chunk than half the room for commits');
    const end = this.#ends;
    const at = this.#endsAt;
    const fields = END_PLACES;
    end[at + 20] = ++this.#commits % 1000 === 0 ? 0 : 2;
    decimal(end, at + fields.offset, 16, offset);
    decimal(end, at + fields.position, 16, parseInt(messageId.slice(-16), 16));
    end.write(key, at + fields.key, 32, 'latin1');
    this.#endsAt = at + this.#endBytes;
  }

  #frame(out: Output, n: number, bytes: number): Buffer {
    const isBatch = this.#kind === 'batch';
    const fields = {
      a: GROUP,
      b: TOPICS[n & 1]!,
      c: 'TBW102',
      d: QUEUES,
      e: (n >> 1) % QUEUES,
      k: 'false',
      m: String(isBatch),
      f: this.#kind === 'half' ? 4 : 0,
      g: 1_790_000_000_000 + n,
      h: 0,
      j: 0,
      ...(isBatch ? {} : { i: propertiesOf(n, this.#kind === 'half').toString('latin1') }),
    };
    let body = bodyOf(n, bytes);
    if (isBatch) {
      const into = Buffer.alloc(BATCH_BYTES);
      let at = 0;
      this.messagesPerFrame = 0;
      for (let m = n; at + 22 + bytes + 160 < BATCH_BYTES; m += 7919) {
        at = encodeBatchElement(into, at, 0, bodyOf(m, bytes), propertiesOf(m, false));
        this.messagesPerFrame++;
      }
      body = into.subarray(0, at);
    }
    const code = isBatch ? RequestCode.SEND_BATCH_MESSAGE : RequestCode.SEND_MESSAGE_V2;
    const head = {
      kind: this.#isJson ? (0 as const) : (1 as const),
      code,
      flag: 0,
      opaque: FIRST_OPAQUE,
      language: 12,
      version: 479,
      remark: undefined,
    };
    return written(out, () => writeFrame(out, head, fields, body));
  }
}

const END_PLACES = { offset: 0, position: 0, key: 0 };

function endFrame(out: Output): Buffer {
  const key = '#'.repeat(32);
  const fields = {
    producerGroup: GROUP,
    tranStateTableOffset: '5'.repeat(16),
    commitLogOffset: '6'.repeat(16),
    commitOrRollback: 8,
    fromTransactionCheck: 'false',
    transactionId: key,
  };
  const head = {
    kind: 1 as const,
    code: RequestCode.END_TRANSACTION,
    flag: 2,
    opaque: 1,
    language: 12,
    version: 479,
    remark: undefined,
  };
  const frame = written(out, () => writeFrame(out, head, fields, undefined));
  END_PLACES.offset = frame.indexOf('5'.repeat(16));
  END_PLACES.position = frame.indexOf('6'.repeat(16));
  END_PLACES.key = frame.indexOf(key);
  return frame;
}

function written(out: Output, write: () => void): Buffer {
  write();
  const parts: Buffer[] = [];
  out.take((chunk) => parts.push(Buffer.from(chunk)));
  return Buffer.concat(parts);
}

function keyOf(n: number): string {
  return (n % 1e8).toString().padStart(24, 'A') + '00000000';
}

function propertiesOf(n: number, isHalf: boolean): Buffer {
  const own: [string, string][] = [
    ['UNIQ_KEY', keyOf(n)],
    ['__SHARDINGKEY', `order-${n % 4096}`],
    ['KEYS', `order-${n % 4096}`],
    ['trace', `t${(n % 4096).toString(36)}`],
  ];
  if (isHalf) own.push(['TRAN_MSG', 'true'], ['PGROUP', GROUP]);
  return encodeProperties(own);
}

function bodyOf(n: number, bytes: number): Buffer {
  const body = Buffer.alloc(bytes, 97 + (n % 26));
  body.write(String(n).padStart(8, '0'), 0, 'latin1');
  return body;
}

/** A number in exactly `digits` digits. */
function decimal(bytes: Buffer, at: number, digits: number, value: number): void {
  for (let n = at + digits - 1; n >= at; n--) {
    const rest = Math.floor(value / 10);
    bytes[n] = 48 + (value - rest * 10);
    value = rest;
  }
}
