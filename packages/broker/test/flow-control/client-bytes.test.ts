import { pipe } from '@tallystick/base';
import { Output, PullFlag, RequestCode, wireFields, writeFrame } from '@tallystick/remoting';
import { beforeEach, describe, expect, it } from 'vitest';
import { Stage, type TestClient } from '../broker-stage.ts';

const KIB = 1024;

/** A log of 1 MB of messages of 20 KB, a producer, and a limit of 4 MiB for all connections together. */
function crowded(): { stage: Stage; producer: TestClient; deaf: (name: string) => TestClient } {
  const stage = new Stage({
    clientBytesMax: 4096 * KIB,
    pullBytesMax: 512 * KIB,
    pullCountMax: 1024,
    segmentBytes: 4096 * KIB,
    tailBytes: 4096 * KIB,
    outputStallMs: 600_000,
    idleMs: 600_000,
  }).start();
  const producer = stage.client('producer');
  for (let n = 0; n < 50; n++) producer.send('orders', 'x'.repeat(20_000));
  stage.run(100);
  /** A consumer that does not take what it has asked for. */
  const deaf = (name: string): TestClient => {
    const client = stage.client(name);
    client.heartbeat({ consumers: ['readers'] });
    client.peer.pause();
    return client;
  };
  return { stage, producer, deaf };
}

/** Answers of about 500 KB each. */
function pull(client: TestClient, times: number): void {
  for (let n = 0; n < times; n++) {
    client.begin('PULL_MESSAGE', client.pullHeader('orders', 0, { maxMsgNums: 1000, sysFlag: PullFlag.SUBSCRIPTION }));
    client.stage.run(200);
  }
}

/** A connection with the first megabyte and a half of a request. */
function unfinished(stage: Stage): { closed: string | undefined } {
  const { ports } = stage.world.process('unfinished');
  const [ours, theirs] = pipe(ports.turn, ['pipe:a', 'broker']);
  const line = { closed: undefined as string | undefined };
  ours.onClose = (reason) => {
    line.closed = reason;
  };
  stage.core.accept(theirs);
  ours.write(Buffer.from([0, 0x80, 0, 0]));
  ours.write(Buffer.alloc(1536 * KIB));
  return line;
}

describe('when much is held for all connections together', () => {
  let stage: Stage;
  let producer: TestClient;
  let deaf: (name: string) => TestClient;
  beforeEach(() => {
    ({ stage, producer, deaf } = crowded());
  });

  it('from 70 % on producers are not read, consumers are, and all is well when it is taken', () => {
    const reader = deaf('reader');
    pull(reader, 5);
    expect(producer.send('orders', 'at 60 %').code).toBe(0);
    pull(reader, 1);
    expect(stage.core.counters.clientBytes).toBeGreaterThan(4096 * KIB * 0.7);
    const waiting = producer.begin('SEND_MESSAGE_V2', producer.sendHeader('orders'), Buffer.from('paused'));
    stage.run(5000);
    expect(waiting.answer).toBeUndefined();
    const other = stage.client();
    expect(other.heartbeat({ consumers: ['readers'] }).code).toBe(0);
    expect(other.pull('orders', 0, { sysFlag: PullFlag.SUBSCRIPTION }).code).toBe(0);
    expect(stage.core.counters).toMatchObject({ producersPaused: 1, closedMemory: 0, busy: 0 });
    reader.peer.resume();
    stage.until(() => waiting.answer !== undefined);
    expect(waiting.answer!.code).toBe(0);
    stage.run(100);
    expect(stage.core.counters.clientBytes).toBeLessThan(64 * KIB);
  });

  it('a producer that has just begun is not read either', () => {
    pull(deaf('reader'), 6);
    const late = stage.client('late');
    expect(late.send('orders', 'first').code).toBe(0);
    stage.run(200);
    const second = late.begin('SEND_MESSAGE_V2', late.sendHeader('orders'), Buffer.from('second'));
    stage.run(1000);
    expect(second.answer).toBeUndefined();
    expect(stage.core.counters.closedMemory).toBe(0);
  });

  it('a producer in the middle of a long request may end it, and is not read then', () => {
    const { ports } = stage.world.process('long');
    const [ours, theirs] = pipe(ports.turn, ['pipe:a', 'broker']);
    stage.core.accept(theirs);
    const out = new Output();
    const send = (bytes: number): Buffer => {
      const head = { kind: 0, code: RequestCode.SEND_MESSAGE_V2, flag: 0, opaque: 1, language: 0, version: 1 } as const;
      const fields = wireFields('SEND_MESSAGE_V2', producer.sendHeader('long'));
      const from = out.at;
      writeFrame(out, { ...head, remark: undefined }, fields, Buffer.alloc(bytes, 'l'));
      return Buffer.from(out.bytes.subarray(from, out.at));
    };
    out.reserve(1024 * KIB);
    const long = send(200_000);
    ours.write(Buffer.concat([send(10), long.subarray(0, 100_000)]));
    stage.run(100);
    pull(deaf('reader'), 6);
    const before = stage.core.counters.sends;
    ours.write(Buffer.concat([long.subarray(100_000), send(20)]));
    stage.run(50);
    ours.write(send(30));
    stage.run(2000);
    expect(stage.core.counters.producersPaused).toBe(1);
    // The long one, and what came with its end.
    expect(stage.core.counters.sends - before).toBe(2);
  });

  it('from 85 % on a pull is answered with 64 KiB', () => {
    const other = stage.client();
    const wide = { maxMsgNums: 1000, sysFlag: PullFlag.SUBSCRIPTION };
    expect(other.pull('orders', 0, wide).body.length).toBeGreaterThan(400 * KIB);
    pull(deaf('reader'), 7);
    expect(stage.core.counters.clientBytes).toBeGreaterThan(4096 * KIB * 0.85);
    const answer = other.pull('orders', 0, wide);
    expect(answer.code).toBe(0);
    expect(answer.body.length).toBeLessThanOrEqual(64 * KIB);
    expect(answer.body.length).toBeGreaterThan(40 * KIB);
  });

  it('from 95 % on the newest connection that holds any is closed, and the others stay', () => {
    const lines = [1, 2, 3].map(() => unfinished(stage));
    const idle = stage.client('idle');
    idle.heartbeat({ producers: ['pay'] });
    stage.run(200);
    expect(lines.map(({ closed }) => closed !== undefined)).toEqual([false, false, true]);
    expect(stage.core.counters.closedMemory).toBe(1);
    expect(stage.core.counters.clientBytes).toBeLessThan(4096 * KIB * 0.95);
    expect(stage.core.counters.connections).toBe(4);
    expect(idle.heartbeat({ producers: ['pay'] }).code).toBe(0);
  });
});
