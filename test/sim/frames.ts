/** Looks at frames on their way, as a proxy would: enough of the header to know what a frame is, in both header kinds. */
import type { FrameFate, FrameJudge, SimLink } from './network.ts';
import type { Stage } from './stage.ts';

const END_TRANSACTION = 37;
const CHECK_TRANSACTION_STATE = 39;
/** Repeated by a careless network without harm: heartbeats, pulls, offset updates, END. Sends would be stored twice, rightly. */
const REPEATABLE = new Set([11, 15, 34, END_TRANSACTION, CHECK_TRANSACTION_STATE]);

export interface FrameHead {
  readonly code: number;
  readonly isResponse: boolean;
}

export function headOf(frame: Buffer): FrameHead {
  if (frame.length >= 21 && frame[4] === 1) return { code: frame.readInt16BE(8), isResponse: (frame.readInt32BE(17) & 1) === 1 };
  const text = frame.toString('latin1', 8, Math.min(frame.length, 8 + frame.readUIntBE(5, 3)));
  return {
    code: Number(/"code":\s*(-?\d+)/.exec(text)?.[1] ?? -1),
    isResponse: (Number(/"flag":\s*(\d+)/.exec(text)?.[1] ?? 0) & 1) === 1,
  };
}

/** The plan's faults on single frames; undefined when it has none (then frames are not even cut out of the stream). */
export function frameJudge(stage: Stage): FrameJudge | undefined {
  const { plan, network, coverage } = stage;
  const watch = stage.world.onTrace !== undefined;
  if (plan.endLost === 0 && plan.endDuplicated === 0 && plan.frameDuplicated === 0 && !watch) return undefined;
  return (frame: Buffer, toServer: boolean, link: SimLink): FrameFate => {
    const { code, isResponse } = headOf(frame);
    if (watch)
      stage.world.trace(
        `${link.serverSide.remote} ${toServer ? '->' : '<-'} ${isResponse ? 'answer' : 'request'} ${code}, ${frame.length} bytes`,
      );
    if (isResponse || !stage.chaos) return 'pass';
    if (code === END_TRANSACTION && network.random.chance(plan.endLost)) {
      coverage.hit('END lost');
      return 'drop';
    }
    if (code === END_TRANSACTION && network.random.chance(plan.endDuplicated)) {
      coverage.hit('END duplicated');
      return 'duplicate';
    }
    return REPEATABLE.has(code) && network.random.chance(plan.frameDuplicated) ? 'duplicate' : 'pass';
  };
}
