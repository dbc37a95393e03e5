import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { gatheringOf } from '../../src/transports/rabbit-gather.ts';

/** A socket that notes how many chunks each write to it has, and takes them at once. */
function socket(highWaterMark = 1024) {
  const writes: number[] = [];
  const stream = new Writable({
    highWaterMark,
    write: (_chunk, _encoding, done) => (writes.push(1), done()),
    writev: (chunks, done) => (writes.push(chunks.length), done()),
  });
  return { stream, writes };
}

/** As amqplib does it: what is published is written in the next check phase, until the socket has no room, and then when it has drained. */
function driver(stream: Writable) {
  const waiting: string[] = [];
  let scheduled = false;
  const write = (): void => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) if (!stream.write(next)) return;
  };
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => ((scheduled = false), write()));
  };
  stream.on('drain', write);
  return {
    connection: { stream },
    publish: (frame: string): void => {
      waiting.push(frame);
      process.nextTick(schedule);
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

describe('what is published in one turn', () => {
  it('leaves in one write, and the socket is free again', async () => {
    const { stream, writes } = socket();
    const channel = driver(stream);
    for (let i = 0; i < 5; i++) {
      channel.publish(`${i}`);
      gatheringOf(channel)!.written();
    }
    await turn();
    expect(writes).toEqual([5]);
    expect(stream.writableCorked).toBe(0);
    stream.write('a heartbeat');
    expect(writes).toEqual([5, 1]);
  });

  it('leaves in as few as there is room for, when it is more', async () => {
    const { stream, writes } = socket(4);
    const channel = driver(stream);
    for (let i = 0; i < 10; i++) {
      channel.publish('x');
      gatheringOf(channel)!.written();
    }
    await turn();
    expect(writes).toEqual([4, 4, 2]);
    expect(stream.writableCorked).toBe(0);
  });

  it('leaves once, also when several channels share the connection', async () => {
    const { stream, writes } = socket();
    const channel = driver(stream);
    const another = { connection: { stream } };
    for (const from of [channel, another]) {
      channel.publish('x');
      gatheringOf(from)!.written();
    }
    await turn();
    expect(gatheringOf(another)).toBe(gatheringOf(channel));
    expect(stream.listenerCount('drain')).toBe(2);
    expect(writes).toEqual([2]);
  });
});

it('a channel of another driver, or a stream that cannot be held, is left alone', () => {
  expect(gatheringOf({})).toBeUndefined();
  expect(gatheringOf({ connection: { stream: { write: () => true } } })).toBeUndefined();
});
