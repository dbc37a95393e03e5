import { describe, expect, it } from 'vitest';
import type { Wire } from '@tallystick/base';
import { SimNetwork, type NetworkOptions } from './network.ts';
import { World, type SimProcess } from './world.ts';

interface Pair {
  world: World;
  network: SimNetwork;
  client: SimProcess;
  server: SimProcess;
  near: Wire;
  far: Wire;
  received: string[];
  closed: string[];
}

function pair(options: NetworkOptions = {}, seed = 1): Pair {
  const world = new World(seed);
  const network = new SimNetwork(world, options);
  const client = world.process('client');
  const server = world.process('server');
  const p = { world, network, client, server, received: [] as string[], closed: [] as string[] } as unknown as Pair;
  network.listen('b:1', server, (wire) => {
    p.far = wire;
    wire.onBytes = (chunk) => p.received.push(Buffer.from(chunk).toString());
    wire.onClose = () => p.closed.push('far');
  });
  network.dialer(client).dial('b:1', (error, wire) => {
    expect(error).toBeUndefined();
    p.near = wire;
    wire.onClose = () => p.closed.push('near');
  });
  world.runUntil(() => p.near !== undefined && p.far !== undefined, 100);
  return p;
}

function frame(text: string): Buffer {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length);
  bytes.write(text, 4);
  return bytes;
}

describe('simulated network', () => {
  it('carries bytes in order however it splits them', () => {
    for (let seed = 0; seed < 20; seed++) {
      const p = pair({ split: 0.7 }, seed);
      for (let i = 0; i < 20; i++) p.near.write(Buffer.from(`<${i}>`));
      p.world.runFor(1000);
      expect(p.received.join('')).toBe(Array.from({ length: 20 }, (_, i) => `<${i}>`).join(''));
    }
  });

  it('refuses a dial where nobody listens', () => {
    const p = pair();
    let refused: string | undefined;
    p.server.kill();
    p.network.dialer(p.client).dial('b:1', (error) => (refused = error));
    p.world.runFor(100);
    expect(refused).toContain('ECONNREFUSED');
  });

  it('tells the other side when a process dies, and never the dead one', () => {
    const p = pair();
    p.server.kill();
    p.world.runFor(100);
    expect(p.closed).toEqual(['near']);
  });

  it('delivers exactly N bytes before a cut after N bytes', () => {
    for (let bytes = 0; bytes <= 10; bytes++) {
      const p = pair({ split: 0.5 }, bytes);
      for (const link of p.network.links) link.cutAfter(bytes, true);
      p.near.write(Buffer.from('0123456789abc'));
      p.world.runFor(100);
      expect(p.received.join('')).toBe('0123456789abc'.slice(0, bytes));
      expect(p.closed.sort()).toEqual(['far', 'near']);
    }
  });

  it('leaves one side in the dark when half open, until it heals', () => {
    const p = pair();
    for (const link of p.network.links) link.cut(true);
    p.world.runFor(1000);
    expect(p.closed.length).toBe(1);
    p.network.heal();
    p.world.runFor(100);
    expect(p.closed.sort()).toEqual(['far', 'near']);
  });

  it('drops and duplicates whole frames as the judge says', () => {
    const p = pair({ split: 0.8 });
    p.network.judge = (bytes) => (bytes.includes('drop') ? 'drop' : bytes.includes('twice') ? 'duplicate' : 'pass');
    for (const text of ['one', 'drop', 'twice', 'end']) p.near.write(frame(text));
    p.world.runFor(100);
    const all = Buffer.from(p.received.join(''), 'latin1').toString();
    expect(all).toBe([frame('one'), frame('twice'), frame('twice'), frame('end')].map(String).join(''));
  });

  it('holds bytes while paused and asks the sender to wait', () => {
    const p = pair({ split: 0 });
    let drained = 0;
    p.near.onDrain = () => drained++;
    p.far.pause();
    expect(p.near.write(Buffer.alloc(100_000))).toBe(false);
    p.world.runFor(100);
    expect(p.received).toEqual([]);
    p.far.resume();
    p.world.runFor(100);
    expect(p.received.join('').length).toBe(100_000);
    expect(drained).toBe(1);
  });

  it('flushes what was written before a graceful close', () => {
    const p = pair();
    p.near.write(Buffer.from('last words'));
    p.near.close(true);
    p.world.runFor(100);
    expect(p.received.join('')).toBe('last words');
    expect(p.closed.sort()).toEqual(['far', 'near']);
  });
});
