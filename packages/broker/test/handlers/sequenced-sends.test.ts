import { describe, expect, it } from 'vitest';
import type { Frame, Peer } from '@tallystick/remoting';
import type { Parts } from '../../src/handlers/parts.ts';
import { SequencedSends, type SequencedSend } from '../../src/handlers/sequenced-sends.ts';
import { Stage } from '../broker-stage.ts';
import { beginOne } from '../sequences/numbered.ts';

describe('a connection that repeats a request', () => {
  it('is not read while too many repeats wait for their original, and gets all answers', () => {
    const stage = new Stage({ flush: 'sync', connectionSendsMax: 4 }).start();
    const eager = stage.client();
    stage.syncDelayMs = 50;
    const waiting = Array.from({ length: 20 }, () => beginOne(eager, 'a', { sequence: 0 }));
    stage.run(20);
    expect(stage.core.counters.duplicateSends).toBe(4);
    stage.until(() => waiting.every(({ answer }) => answer !== undefined));
    expect(waiting.every(({ answer }) => answer!.code === 0)).toBe(true);
    expect(stage.core.counters.duplicateSends).toBe(19);
    expect(eager.bodies('orders')).toEqual(['a']);
  });
});

describe('a repeated batch whose records readers do not see yet', () => {
  /** Repeats one batch of two; timers, admission and answers as they stand. */
  function repeated() {
    const timers = new Set<() => void>();
    const answers: string[] = [];
    const admitted: number[] = [];
    const parts = {
      identity: { host: Buffer.alloc(8) },
      topics: { half: { name: 'half' } },
      counters: { duplicateSends: 0 },
      sequences: { judge: () => 'duplicate', position: 10, queueOffset: 0, storeTimestamp: 1 },
      store: {
        whenKept: (_position: number, _offset: number, _level: string, sink: { appended(token: number, outcome: 'ok'): void }) =>
          sink.appended(0, 'ok'),
        read: (_request: unknown, done: (result: unknown) => void) => done({ status: 'overflow-one', chunks: [] }),
      },
      admission: {
        enter: (_connection: unknown, bytes: number) => void admitted.push(bytes),
        leave: (_connection: unknown, bytes: number) => void admitted.push(-bytes),
      },
      timers: {
        after: (_ms: number, fire: () => void) => (timers.add(fire), fire),
        cancel: (fire: () => void) => void timers.delete(fire),
      },
    } as unknown as Parts;
    const peer = { answer: (_ref: unknown, _code: number, text: string) => void answers.push(text) } as unknown as Peer;
    const frame = { ref: () => ({ opaque: 1, kind: 'json', oneway: false }) } as unknown as Frame;
    const send = { peer, frame, queue: { topic: 'orders' }, level: 'flush', count: 2, key: Buffer.alloc(0), admitted: 7 };
    const sends = new SequencedSends(parts);
    const repeat = (): boolean => sends.passes(send as unknown as SequencedSend);
    return { sends, repeat, timers, answers, admitted };
  }

  it('looks again until it gives up, and is admitted for so long', () => {
    const { repeat, timers, answers, admitted } = repeated();
    expect(repeat()).toBe(false);
    for (let n = 0; n < 100; n++) {
      expect([timers.size, answers, admitted]).toEqual([1, [], [7]]);
      const [fire] = timers;
      timers.clear();
      fire!();
    }
    expect([timers.size, answers, admitted]).toEqual([0, [expect.stringContaining('cannot be found')], [7, -7]]);
  });

  it('is refused when the broker stops, and leaves no timer', () => {
    const { sends, repeat, timers, answers, admitted } = repeated();
    repeat();
    sends.stop();
    expect([timers.size, answers.length, admitted]).toEqual([0, 1, [7, -7]]);
    repeat();
    expect([timers.size, answers.length, admitted]).toEqual([0, 2, [7, -7, 7, -7]]);
  });
});
