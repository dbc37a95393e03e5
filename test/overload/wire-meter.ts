import type { Wire } from '@tallystick/base';
import { ANSWERS, answerOf, codeOf, FrameHeads, isAnswer, opaqueOf, type Answer } from './frame-heads.ts';
import { Histogram, type Spread } from './histogram.ts';

/**
 * Stands between the broker and its sockets and measures, for every send, the time from the moment in which the broker was handed the
 * frame's bytes to the moment in which it handed out the answer's, by kind of answer. It knows nothing of what the broker does with
 * a frame in between, whether it was paused, queued or held back in a buffer.
 */
export class WireMeter {
  #answers = ANSWERS.map(() => new Histogram());
  /** Bytes that came and went. */
  bytesIn = 0;
  bytesOut = 0;

  reset(): void {
    this.#answers = ANSWERS.map(() => new Histogram());
  }

  report(): Readonly<Record<Answer, Spread>> {
    return Object.fromEntries(ANSWERS.map((name, n) => [name, this.#answers[n]!.summary()])) as Record<Answer, Spread>;
  }

  /** The same wire, measured. */
  around(inner: Wire): Wire {
    let readMs = NONE;
    let nowMs = 0;
    const requests = new FrameHeads((bytes, at) => {
      const code = codeOf(bytes, at);
      if (isAnswer(bytes, at) || (code !== 310 && code !== 320)) return;
      if (readMs === NONE) readMs = new Float64Array(OPAQUES);
      readMs[opaqueOf(bytes, at) % OPAQUES] = nowMs;
    });
    const answers = new FrameHeads((bytes, at, headBytes) => {
      if (!isAnswer(bytes, at)) return;
      const slot = opaqueOf(bytes, at) % OPAQUES;
      const askedMs = readMs[slot];
      if (askedMs === undefined || askedMs === 0) return;
      readMs[slot] = 0;
      this.#answers[answerOf(bytes, at, headBytes)]!.add(nowMs - askedMs);
    });
    const wire: Wire = {
      remote: inner.remote,
      onBytes: () => {},
      onDrain: () => {},
      onClose: () => {},
      write: (chunk) => {
        nowMs = performance.now();
        this.bytesOut += chunk.length;
        answers.read(chunk);
        return inner.write(chunk);
      },
      isWritten: () => inner.isWritten?.() === true,
      close: (graceful) => inner.close(graceful),
      pause: () => inner.pause(),
      resume: () => inner.resume(),
    };
    inner.onBytes = (chunk) => {
      nowMs = performance.now();
      this.bytesIn += chunk.length;
      requests.read(chunk);
      wire.onBytes(chunk);
    };
    inner.onDrain = () => wire.onDrain();
    inner.onClose = (reason) => wire.onClose(reason);
    return wire;
  }
}

/** Opaques of one connection that can be told apart: more than are ever open on it. */
const OPAQUES = 1 << 18;
const NONE = new Float64Array(0);
