import { Frame, Output, parseFrame, writeFrame, type HeaderKind } from '@tallystick/remoting';
import { expect, it } from 'vitest';
import { BusyAnswer } from '../../src/flow-control/busy-answer.ts';

it.each<HeaderKind>([0, 1])('a finished refusal is, byte for byte, what would have been written (header kind %s)', (kind) => {
  const [out, expected] = [new Output(), new Output()];
  const answer = new BusyAnswer('[OVERLOAD]wait');
  const frame = new Frame();
  for (const opaque of [0, 7, 0x7fffffff, -1]) {
    const start = out.at;
    answer.encode(out, kind, opaque);
    const head = { kind, code: 2, flag: 1, opaque, language: 7, version: 479, remark: '[OVERLOAD]wait' };
    writeFrame(expected, head, undefined, undefined);
    expect(parseFrame(frame, out.bytes, start, out.at)).toBeUndefined();
    expect([frame.code, frame.opaque, frame.isResponse, frame.remark()]).toEqual([2, opaque, true, '[OVERLOAD]wait']);
  }
  expect(out.bytes.subarray(0, out.at)).toEqual(expected.bytes.subarray(0, expected.at));
});
