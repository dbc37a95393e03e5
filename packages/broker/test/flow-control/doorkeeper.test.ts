import { pipe, type Wire } from '@tallystick/base';
import { describe, expect, it } from 'vitest';
import { Stage } from '../broker-stage.ts';

/** A bare wire to the broker from an address, and how it ended. */
function dial(stage: Stage, remote: string): { readonly wire: Wire; closed: string | undefined } {
  const { ports } = stage.world.process(`dialer ${remote}`);
  const [ours, theirs] = pipe(ports.turn, [remote, 'broker']);
  const line = { wire: ours, closed: undefined as string | undefined };
  ours.onClose = (reason) => {
    line.closed = reason;
  };
  stage.core.accept(theirs);
  return line;
}

describe('a connection', () => {
  it('that is one too many is closed, and the next one comes in when another has gone', () => {
    const stage = new Stage({ connectionsMax: 2 }).start();
    const lines = [1, 2, 3].map((n) => dial(stage, `10.0.0.${n}:5`));
    stage.run(10);
    expect(lines.map(({ closed }) => closed !== undefined)).toEqual([false, false, true]);
    lines[0]!.wire.close(false);
    stage.run(10);
    expect(stage.client('late', {}, '10.0.0.9:1').heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(stage.core.counters).toMatchObject({ refusedConnections: 1, refusedByAddress: 0, connections: 2 });
  });

  it('that is one too many from its address is closed; loopback and this process have no such limit', () => {
    const stage = new Stage({ connectionsPerAddressMax: 2 }).start();
    const remotes = ['10.0.0.1:1', '10.0.0.1:2', '10.0.0.1:3', '10.0.0.2:1', '[fd00::1]:1', '[fd00::1]:2', '[fd00::1]:3'];
    const local = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '[::1]:1', '[::1]:2', '[::1]:3', 'pipe:a', 'pipe:a', 'pipe:a'];
    const lines = [...remotes, ...local].map((remote) => ({ remote, line: dial(stage, remote) }));
    stage.run(10);
    expect(lines.filter(({ line }) => line.closed !== undefined).map(({ remote }) => remote)).toEqual([
      '10.0.0.1:3',
      '[fd00::1]:3',
    ]);
    expect(stage.core.counters.refusedByAddress).toBe(2);
    lines[0]!.line.wire.close(false);
    stage.run(10);
    expect(dial(stage, '10.0.0.1:4').closed).toBeUndefined();
    stage.run(10);
    expect(stage.core.counters.refusedByAddress).toBe(2);
  });

  it('that sends no whole request in time is closed; one that has sent one may be silent', () => {
    const stage = new Stage({ firstFrameMs: 500 }).start();
    const talker = stage.client('talker', {}, '10.0.0.1:1');
    talker.heartbeat({ producers: ['pay'] });
    const embedded = stage.client('embedded');
    const silent = dial(stage, '10.0.0.2:1');
    const slow = dial(stage, '10.0.0.3:1');
    slow.wire.write(Buffer.from([0, 0, 1, 0, 0]));
    stage.run(450);
    expect([silent.closed, slow.closed]).toEqual([undefined, undefined]);
    stage.run(200);
    expect([silent.closed, slow.closed].every((reason) => reason !== undefined)).toBe(true);
    expect(stage.core.counters).toMatchObject({ closedSilent: 2, connections: 2 });
    stage.run(2000);
    expect(talker.heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(embedded.heartbeat({ producers: ['pay'] }).code).toBe(0);
  });

  it('whose first request has no end is closed before it takes much', () => {
    const stage = new Stage({ firstFrameBytesMax: 64 * 1024 }).start();
    const line = dial(stage, '10.0.0.2:1');
    line.wire.write(Buffer.from([0, 0x80, 0, 0]));
    line.wire.write(Buffer.alloc(80 * 1024));
    stage.run(200);
    expect(line.closed).toBeDefined();
    expect(stage.core.counters.closedLongFirst).toBe(1);
  });

  it('that came last goes first when unfinished first requests take too much together', () => {
    const stage = new Stage({ firstFramesBytesMax: 100 * 1024 }).start();
    const lines = [1, 2, 3, 4].map((n) => dial(stage, `10.0.0.${n}:1`));
    for (const { wire } of lines) {
      wire.write(Buffer.from([0, 0x80, 0, 0]));
      wire.write(Buffer.alloc(40 * 1024));
    }
    stage.run(200);
    expect(lines.map(({ closed }) => closed !== undefined)).toEqual([false, false, true, true]);
    expect(stage.core.counters.closedLongFirst).toBe(2);
  });

  it('that takes no answers is closed, the faster the more wait, and others do not notice', () => {
    const stage = new Stage({ outputStallMs: 1000, segmentBytes: 4 * 1024 * 1024, pullBytesMax: 512 * 1024 }).start();
    const sender = stage.client();
    for (let n = 0; n < 10; n++) sender.send('orders', 'x'.repeat(100_000));
    const deaf = stage.client('deaf', {}, '10.0.0.1:1');
    deaf.heartbeat({ consumers: ['readers'] });
    deaf.peer.pause();
    for (let n = 0; n < 8; n++) deaf.begin('PULL_MESSAGE', deaf.pullHeader('orders', 0));
    stage.run(900);
    expect(deaf.closed).toBeUndefined();
    expect(sender.send('orders', 'meanwhile').code).toBe(0);
    stage.run(120_000);
    expect(deaf.closed).toBeDefined();
    expect(stage.core.counters.closedStalled + stage.core.counters.closedOutput).toBe(1);
    expect(sender.send('orders', 'after').code).toBe(0);
  });

  it('whose ends are counted by cause says nothing of the others', () => {
    const stage = new Stage({ idleMs: 300 }).start();
    const client = stage.client('quiet', {}, '10.0.0.1:1');
    client.heartbeat({ producers: ['pay'] });
    stage.run(700);
    expect(client.closed).toBeDefined();
    expect(stage.core.counters).toMatchObject({ closedIdle: 1, closedSilent: 0, closedStalled: 0, closedOutput: 0 });
  });
});
