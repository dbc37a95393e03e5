import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { IndefiniteError, SendError } from '../../src/errors.ts';
import { Producer } from '../../src/shell/producer-shell.ts';
import { SendFuture } from '../../src/shell/send-future.ts';
import { SENDS, stageWith, warmUp } from './sent.ts';

function shell(topics: Record<string, number> = { t: 1 }) {
  const stage = stageWith(topics);
  const core = stage.client().producer();
  return { stage, core, producer: new Producer(core) };
}

describe('a future', () => {
  it('is done when the send is, and knows its receipt without a promise', () => {
    const { stage, producer } = shell();
    const future = producer.append({ topic: 't', value: 'v' });
    expect([future.isDone, future.receipt, future.error]).toEqual([false, undefined, undefined]);
    stage.time.settle();
    expect([future.isDone, future.receipt?.offset, future.error]).toEqual([true, 0, undefined]);
  });

  it('can be awaited before and after its end, and gives the same promise each time', async () => {
    const { stage, producer } = shell();
    const future = producer.append({ topic: 't', value: 'v' });
    const early = future.promise();
    stage.time.settle();
    expect(future.promise()).toBe(early);
    const receipt = await future;
    expect([receipt, await early]).toEqual([future.receipt, future.receipt]);
    const late = producer.append({ topic: 't', value: 'v' });
    stage.time.settle();
    expect((await late).offset).toBe(1);
  });

  it('each tells its own place in the batch', async () => {
    const { stage, producer } = shell();
    const futures = ['a', 'b', 'c'].map((value) => producer.append({ topic: 't', value }));
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['320x3']);
    expect((await Promise.all(futures)).map(({ offset }) => offset)).toEqual([0, 1, 2]);
  });

  it('rejects with the error, asked before or after', async () => {
    const { stage, producer } = shell({});
    const before = producer.append({ topic: 'nowhere', value: 'v' });
    const asked = expect(before.promise()).rejects.toBeInstanceOf(SendError);
    stage.time.settle();
    await asked;
    const after = producer.append({ topic: 't', value: '' });
    await expect(after.promise()).rejects.toMatchObject({ code: 'ILLEGAL_RECORD' });
    expect(after.error?.code).toBe('ILLEGAL_RECORD');
  });

  it('that nobody asks is no unhandled rejection', async () => {
    const { stage, producer } = shell({});
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    const future = producer.append({ topic: 'nowhere', value: 'v' });
    stage.time.settle();
    await turn();
    await turn();
    process.off('unhandledRejection', note);
    expect([future.isDone, unhandled]).toEqual([true, []]);
  });

  it('resolves after the callbacks of its batch, in their order', async () => {
    const { stage, producer } = shell();
    const order: string[] = [];
    const first = producer.append({ topic: 't', value: '1' }).then(() => order.push('future'));
    producer.sendWith({ topic: 't', value: '2' }, () => order.push('callback'));
    stage.time.settle();
    await first;
    expect(order).toEqual(['callback', 'future']);
  });

  it('settles by hand as by a producer', async () => {
    const future = new SendFuture();
    const failure = new IndefiniteError('TIMEOUT', 'unknown', 'later', 'late');
    const promise = future.promise();
    future.settle(failure, undefined as never);
    await expect(promise).rejects.toBe(failure);
  });
});

describe('send()', () => {
  it('is taken back by its signal while it waits', async () => {
    const { stage, producer } = shell();
    const controller = new AbortController();
    const sent = producer.send({ topic: 't', value: 'v' }, { signal: controller.signal });
    const failed = expect(sent).rejects.toMatchObject({ code: 'WITHDRAWN', outcome: 'unavailable', cause: 'enough' });
    controller.abort('enough');
    await failed;
    stage.time.settle();
    expect(stage.broker.arrived).toEqual([]);
  });

  it('does not begin under a signal that is aborted already', async () => {
    const { stage, producer, core } = shell();
    await expect(producer.send({ topic: 't', value: 'v' }, { signal: AbortSignal.abort('no') })).rejects.toMatchObject({
      code: 'WITHDRAWN',
    });
    stage.time.settle();
    expect(core.pending).toBe(0);
  });

  it('is not taken back once it is in a batch', async () => {
    const { stage, producer, core } = shell();
    warmUp(stage, core);
    const controller = new AbortController();
    const sent = producer.send({ topic: 't', value: 'v' }, { signal: controller.signal });
    controller.abort();
    stage.time.settle();
    expect((await sent).offset).toBe(0);
  });

  it('lets go of its signal when it is done', async () => {
    const { stage, producer } = shell();
    const { signal } = new AbortController();
    const sent = producer.send({ topic: 't', value: 'v' }, { signal });
    stage.time.settle();
    await sent;
    const aborted = once(signal, 'abort').then(() => 'aborted');
    signal.dispatchEvent(new Event('abort'));
    expect(await aborted).toBe('aborted');
    expect(stage.reports).toEqual([]);
  });
});

describe('the promise shell', () => {
  it('flushes, gets ready and closes', async () => {
    const { stage, producer } = shell();
    const sent = producer.append({ topic: 't', value: 'v' });
    const all = Promise.all([producer.flush(), producer.ready(), producer.close({ timeoutMs: 1000 }), producer.close()]);
    stage.time.settle();
    await all;
    expect(sent.isDone).toBe(true);
    expect(producer.trySend({ topic: 't', value: 'v' }, (error) => expect(error?.code).toBe('CLOSED'))).toBe(true);
  });

  it('forces a close by a second one without a wait', async () => {
    const { stage, producer } = shell();
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const sent = producer.append({ topic: 't', value: 'v' });
    stage.time.settle();
    const closed = producer.close({ timeoutMs: 60_000 });
    const forced = producer.close({ timeoutMs: 0 });
    stage.time.settle();
    await Promise.all([closed, forced]);
    expect(sent.error?.outcome).toBe('unknown');
  });
});
