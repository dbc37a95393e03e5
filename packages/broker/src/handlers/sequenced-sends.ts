import { readI32, readI64, type Timer } from '@tallystick/base';
import { emptySendAnswer, ResponseCode, SendAnswers, type Frame, type Peer, type ReplyRef } from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import type { ProducerSequences } from '../sequences/producer-sequences.ts';
import type { Verdict } from '../sequences/sequence-windows.ts';
import type { QueueRef } from '../store/queue-ref.ts';
import { MESSAGE_AT } from '../store/record-view.ts';
import type { AckLevel, AppendOutcome, AppendSink } from '../store/store-types.ts';
import type { Parts } from './parts.ts';
import { appendFailure } from './reply.ts';

/** A numbered send, as far as its answer needs it. */
export interface SequencedSend {
  readonly peer: Peer;
  readonly frame: Frame;
  /** Where the first record's properties lie. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** The queue it is meant for. */
  readonly topic: string;
  readonly queueId: number;
  /** The queue it would be stored in. */
  readonly queue: QueueRef;
  readonly level: AckLevel;
  readonly count: number;
  /** The unique key, for the answer; empty for a batch. */
  readonly key: Uint8Array;
  /** What admission counts while it is not answered. */
  readonly admitted: number;
}

/**
 * Sends whose producer numbers them. The next one in order passes; one that is stored already is answered as its original was, and not
 * before its original could be; all others are refused. Nothing is ever appended twice. A repeat that waits is admitted as its original
 * was: who repeats without end is not read.
 */
export class SequencedSends {
  readonly #parts: Parts;
  readonly #answers: SendAnswers;
  /** Repeats whose originals readers do not see yet, and the timers that look again. */
  readonly #looking = new Map<OriginalAnswer, Timer>();
  #isStopped = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#answers = new SendAnswers(parts.identity.host);
  }

  /** True: append it, then call `sequences.settle`. False: it has been, or will be, answered. */
  passes(send: SequencedSend): boolean {
    const { sequences, counters, store } = this.#parts;
    const verdict = sequences.judge(send.bytes, send.start, send.end, send.topic, send.queueId);
    if (verdict === 'new') return true;
    const ref = send.frame.ref();
    if (verdict === 'duplicate') {
      counters.duplicateSends++;
      const { position, queueOffset } = sequences;
      const answer = new OriginalAnswer(this.#parts, this.#answers, this, send, ref, sequences);
      this.#parts.admission.enter(connectionOf(send.peer), send.admitted);
      store.whenKept(position, queueOffset, send.level, answer, 0);
      return false;
    }
    counters.sequenceRefusals++;
    if (verdict === 'malformed') {
      send.peer.answer(
        ref,
        ResponseCode.MESSAGE_ILLEGAL,
        'the message is illegal, TS_SEQ is not <32 hex digits>:<epoch>:<sequence>',
      );
      return false;
    }
    const { reason, text } = REFUSALS[verdict];
    send.peer.answer(ref, ResponseCode.SYSTEM_ERROR, `${text}: ${sequences.describe()}`, { TS_REASON: reason });
    return false;
  }

  /** Acknowledged but not shown to readers yet: looks again soon. */
  lookAgain(answer: OriginalAnswer): void {
    if (this.#isStopped) return answer.fail('closed');
    const timer = this.#parts.timers.after(LOOK_AGAIN_MS, () => {
      this.#looking.delete(answer);
      answer.lookUp();
    });
    this.#looking.set(answer, timer);
  }

  /** Nothing looks again any more: who waits for that is refused. */
  stop(): void {
    this.#isStopped = true;
    for (const [answer, timer] of this.#looking) {
      this.#parts.timers.cancel(timer);
      answer.fail('closed');
    }
    this.#looking.clear();
  }
}

/** Waits for the original to be as durable as was asked, looks its records up, and answers once more. */
class OriginalAnswer implements AppendSink {
  readonly #parts: Parts;
  readonly #answers: SendAnswers;
  readonly #owner: SequencedSends;
  readonly #admitted: number;
  readonly #peer: Peer;
  readonly #ref: ReplyRef;
  readonly #queue: QueueRef;
  readonly #queueId: number;
  readonly #isHalf: boolean;
  readonly #key: Uint8Array;
  readonly #queueOffset: number;
  readonly #storeTimestamp: number;
  readonly #positions: Float64Array;
  #found = 1;
  #looks = 0;

  constructor(
    parts: Parts,
    answers: SendAnswers,
    owner: SequencedSends,
    send: SequencedSend,
    ref: ReplyRef,
    original: ProducerSequences,
  ) {
    this.#parts = parts;
    this.#answers = answers;
    this.#owner = owner;
    this.#admitted = send.admitted;
    this.#peer = send.peer;
    this.#ref = ref;
    this.#queue = send.queue;
    this.#queueId = send.queueId;
    this.#isHalf = send.queue.topic === parts.topics.half.name;
    this.#key = Buffer.from(send.key);
    this.#queueOffset = original.queueOffset;
    this.#storeTimestamp = original.storeTimestamp;
    this.#positions = new Float64Array(send.count).fill(original.position);
  }

  appended(_token: number, outcome: AppendOutcome): void {
    if (outcome === 'ok') return this.lookUp();
    if (outcome === 'timeout' && this.#isHalf) return this.#answer(ResponseCode.FLUSH_DISK_TIMEOUT);
    this.fail(outcome);
  }

  fail(outcome: Exclude<AppendOutcome, 'ok'>): void {
    const { code, text } = appendFailure(outcome);
    this.#leave();
    this.#peer.answer(this.#ref, code, text);
  }

  /** Finds the records behind the first one through the queue. */
  lookUp(): void {
    const left = this.#positions.length - this.#found;
    if (left <= 0) return this.#answer(ResponseCode.SUCCESS);
    const offset = this.#queueOffset + this.#found;
    this.#parts.store.read({ queue: this.#queue, offset, maxCount: left, maxBytes: READ_BYTES }, ({ status, chunks, reason }) => {
      if (status === 'found') {
        for (const chunk of chunks) this.#take(chunk);
        return this.lookUp();
      }
      // Retention has taken the records: that they were stored is still true, and the first one's place is known.
      if (status === 'too-small') return this.#answer(ResponseCode.SUCCESS);
      if (status !== 'error' && this.#looks++ < LOOKS_MAX) return this.#owner.lookAgain(this);
      this.#leave();
      const text = `the request is a repeated one whose original cannot be found: ${reason ?? `no message at ${offset}`}`;
      this.#peer.answer(this.#ref, ResponseCode.SYSTEM_ERROR, text);
    });
  }

  #take(records: Uint8Array): void {
    for (let at = 0; at < records.length && this.#found < this.#positions.length; at += readI32(records, at))
      this.#positions[this.#found++] = readI64(records, at + MESSAGE_AT.physicalOffset);
  }

  #leave(): void {
    this.#parts.admission.leave(connectionOf(this.#peer), this.#admitted);
  }

  #answer(code: number): void {
    this.#leave();
    if (this.#ref.oneway) return;
    const answer = emptySendAnswer();
    answer.code = code;
    answer.positions = this.#positions;
    answer.count = this.#positions.length;
    answer.queueId = this.#queueId;
    answer.queueOffset = this.#queueOffset;
    answer.storeTimestamp = this.#storeTimestamp;
    answer.transactionId = this.#key;
    answer.transactionIdEnd = this.#key.length;
    this.#peer.answerWith(this.#answers, answer, this.#ref.kind, this.#ref.opaque);
  }
}

/** Code 1 of each; the reason tells the producer what to do. */
const REFUSALS: Readonly<Record<Exclude<Verdict, 'new' | 'duplicate'>, { readonly reason: string; readonly text: string }>> = {
  gap: { reason: 'OUT_OF_ORDER', text: 'an earlier request is missing' },
  'too-old': { reason: 'DUPLICATE_TOO_OLD', text: 'stored before, too long ago to say where' },
  'old-epoch': { reason: 'OLD_EPOCH', text: 'the producer has begun a newer epoch' },
};

const READ_BYTES = 8 * 1024 * 1024;
const LOOK_AGAIN_MS = 20;
const LOOKS_MAX = 100;
