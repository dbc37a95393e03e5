import { pipe, type Wire } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';
import { PullFlag, type Peer } from '@tallystick/remoting';
import { beforeEach, describe, expect, it } from 'vitest';
import { Counters } from '../../src/counters.ts';
import { OVERLOAD_TEXT } from '../../src/flow-control/busy-texts.ts';
import { ClientBytes } from '../../src/flow-control/client-bytes.ts';
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

/** A connection that has sent the first bytes of a request of 128 KiB, which no handler knows. */
function begun(stage: Stage, bytes: number): Wire {
  const { ports } = stage.world.process('begun');
  const [ours, theirs] = pipe(ports.turn, ['pipe:a', 'broker']);
  stage.core.accept(theirs);
  ours.write(Buffer.concat([Buffer.from([0, 2, 0, 0]), Buffer.alloc(bytes - 4)]));
  return ours;
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

  it('from 70 % on sends are refused, all else goes on, and sends too when it is taken', () => {
    const reader = deaf('reader');
    pull(reader, 5);
    expect(producer.send('orders', 'at 60 %').code).toBe(0);
    pull(reader, 1);
    expect(stage.core.counters.clientBytes).toBeGreaterThan(4096 * KIB * 0.7);
    const refused = producer.send('orders', 'refused');
    expect([refused.code, refused.remark]).toEqual([2, OVERLOAD_TEXT]);
    expect(producer.heartbeat({ producers: ['pay'] }).code).toBe(0);
    const other = stage.client();
    expect(other.heartbeat({ consumers: ['readers'] }).code).toBe(0);
    expect(other.pull('orders', 0, { sysFlag: PullFlag.SUBSCRIPTION }).code).toBe(0);
    expect(stage.core.counters).toMatchObject({ busyMemory: 1, closedMemory: 0, busy: 1 });
    reader.peer.resume();
    stage.until(() => stage.core.counters.clientBytes < 64 * KIB);
    stage.run(100);
    expect(producer.send('orders', 'again').code).toBe(0);
    expect(stage.core.counters.busyMemory).toBe(1);
  });

  it('what lies read of unfinished requests is taken when their rest comes, and sends are served again', () => {
    const lines = Array.from({ length: 50 }, () => begun(stage, 62 * KIB));
    stage.run(200);
    expect(producer.send('orders', 'refused').code).toBe(2);
    for (const line of lines) line.write(Buffer.alloc(128 * KIB + 4 - 62 * KIB));
    stage.run(500);
    expect(stage.core.counters.clientBytes).toBeLessThan(4096 * KIB * 0.6);
    expect(producer.send('orders', 'served').code).toBe(0);
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

  it('from 95 % on the connection that holds most is closed, the newest of equals, and the others stay', () => {
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

describe('a timer of its own', () => {
  /** Of 1,000 bytes: what is read and held is told; timers are counted. */
  function quiet() {
    const time = new ManualTime();
    const line = { heldBytes: 0, outputBytes: 0 };
    const seen = { armed: 0, readBytes: 0, counters: new Counters(), line, time };
    const timers = {
      after: (ms: number, run: () => void) => {
        seen.armed++;
        return time.after(ms, run);
      },
      cancel: (timer: object) => time.cancel(timer),
    };
    const memory = new ClientBytes(
      { clock: time, timers },
      1000,
      () => 0,
      () => seen.readBytes,
      seen.counters,
      () => {},
    );
    memory.entered(line as unknown as Peer);
    const turn = (afterMs: number): void => {
      time.advance(afterMs);
      memory.turnEnded(time.monotonic());
    };
    return { ...seen, seen, memory, turn };
  }

  it('is armed by no turn while all that was read and pulled since the last look would be less than half', () => {
    const { seen, turn } = quiet();
    for (let n = 0; n < 500; n++) {
      seen.readBytes += 4;
      seen.counters.pulledBytes += 4;
      turn(n % 7 === 0 ? 60 : 1);
    }
    expect(seen.armed).toBe(0);
  });

  it.each(['readBytes', 'pulledBytes'] as const)(
    'is armed once by %s that may make it half, and looks when no turn comes',
    (what) => {
      const { seen, turn, line, counters, time } = quiet();
      turn(100);
      if (what === 'readBytes') seen.readBytes += 600;
      else counters.pulledBytes += 600;
      for (let n = 0; n < 5; n++) turn(1);
      expect(seen.armed).toBe(1);
      line.heldBytes = 400;
      time.advance(50);
      expect(counters.clientBytes).toBe(400);
      expect([seen.armed, time.timersWaiting]).toEqual([1, 0]);
    },
  );

  it('is armed by an answer to a pull that may make it half, and again and again while it is', () => {
    const { seen, turn, memory, line, counters, time } = quiet();
    turn(100);
    expect(memory.ofPull(400)).toBe(400);
    expect(seen.armed).toBe(0);
    expect(memory.ofPull(600)).toBe(600);
    expect(seen.armed).toBe(1);
    line.outputBytes = 600;
    time.advance(500);
    expect(counters.clientBytes).toBe(600);
    expect(seen.armed).toBeGreaterThan(5);
    line.outputBytes = 100;
    time.advance(100);
    expect([counters.clientBytes, time.timersWaiting]).toEqual([100, 0]);
  });
});
