import { describe, expect, it } from 'vitest';
import { pipe, PIPE_SOFT_BYTES, type Wire } from '../src/index.ts';
import { ManualTime } from '../src/testing/manual-time.ts';

function joined() {
  const time = new ManualTime();
  const [a, b] = pipe(time);
  const log: string[] = [];
  for (const [name, end] of [
    ['a', a],
    ['b', b],
  ] as const) {
    end.onBytes = (chunk) => log.push(`${name}<${Buffer.from(chunk).toString()}`);
    end.onDrain = () => log.push(`${name} drain`);
    end.onClose = (reason) => log.push(`${name} closed: ${reason}`);
  }
  return { time, a, b, log };
}

const write = (wire: Wire, text: string): boolean => wire.write(Buffer.from(text));

describe('a pipe', () => {
  it('delivers chunks in order at the end of the turn, never inside write', () => {
    const { time, a, b, log } = joined();
    write(a, '1');
    write(a, '2');
    write(b, 'x');
    expect(log).toEqual([]);
    time.settle();
    expect(log).toEqual(['b<1', 'b<2', 'a<x']);
  });

  it('keeps bytes while the reader is paused, and says false and later drain to the writer', () => {
    const { time, a, b, log } = joined();
    b.pause();
    expect(a.write(Buffer.alloc(PIPE_SOFT_BYTES))).toBe(true);
    expect(a.write(Buffer.alloc(1))).toBe(false);
    time.settle();
    expect(log).toEqual([]);
    b.onBytes = (chunk) => log.push(`b<${chunk.length}`);
    b.resume();
    time.settle();
    expect(log).toEqual([`b<${PIPE_SOFT_BYTES}`, 'b<1', 'a drain']);
  });

  it('closed gracefully, hands over what was written first', () => {
    const { time, a, log } = joined();
    write(a, 'last words');
    a.close(true);
    expect(write(a, 'too late')).toBe(false);
    time.settle();
    expect(log).toEqual(['b<last words', 'b closed: closed by the other side', 'a closed: closed here']);
  });

  it('cut, drops what was written and tells both once', () => {
    const { time, a, b, log } = joined();
    write(a, 'lost');
    a.close(false);
    b.close(false);
    a.close(true);
    time.settle();
    expect(log.sort()).toEqual(['a closed: closed here', 'b closed: closed here']);
  });

  it('delivers nothing to an end that has closed', () => {
    const { time, a, b, log } = joined();
    write(b, 'in flight');
    a.close(true);
    time.settle();
    write(b, 'afterwards');
    time.settle();
    expect(log).toEqual(['a closed: closed here', 'b closed: closed by the other side']);
  });

  it('holds an end back that is paused at the close until it has read the rest', () => {
    const { time, a, b, log } = joined();
    b.pause();
    write(a, 'rest');
    a.close(true);
    time.settle();
    expect(log).toEqual(['a closed: closed here']);
    b.resume();
    time.settle();
    expect(log).toEqual(['a closed: closed here', 'b<rest', 'b closed: closed by the other side']);
  });
});
