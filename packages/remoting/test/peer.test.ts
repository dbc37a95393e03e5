import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Wire } from '@tallystick/base';
import { duplexWire } from '@tallystick/base/node';
import { ManualTime } from '@tallystick/base/testing';
import {
  type Frame,
  FrameReader,
  Output,
  Peer,
  RequestCode,
  writeFrame,
  type HeaderKind,
  type PeerError,
  type PeerOptions,
} from '../src/index.ts';

/** A wire that does what it is told: keeps what was written, says "wait" on command, delivers bytes and closes on command. */
class ToldWire implements Wire {
  readonly remote = 'test:1';
  readonly written: Buffer[] = [];
  onBytes: (chunk: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onClose: (reason: string) => void = () => {};
  accepts = true;
  paused = false;
  closes: string[] = [];

  write(chunk: Uint8Array): boolean {
    this.written.push(Buffer.from(chunk));
    return this.accepts;
  }

  close(graceful: boolean): void {
    this.closes.push(graceful ? 'graceful' : 'cut');
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

const LIMITS = { frameBytesMax: 1 << 24, headerBytesMax: 1 << 20 };

function stage(options: PeerOptions = {}) {
  const time = new ManualTime();
  const wire = new ToldWire();
  const log: string[] = [];
  const peer = new Peer(wire, { clock: time, timers: time, turn: time }, options, {
    onRequest: (from, frame) => {
      log.push(`request ${frame.opaque}${frame.isOneway ? ' oneway' : ''}`);
      if (frame.code === 1000) from.pause();
      if (frame.code === 1001) from.close(false, 'handler closed');
      if (frame.code === 1002) from.answer(frame.ref(), 0, undefined, { n: frame.opaque });
    },
    onDrain: () => log.push('drain'),
    onClose: (_from, reason) => log.push(`closed: ${reason}`),
  });
  const answer = (name: string) => (error: PeerError | undefined, reply: Frame) =>
    log.push(error === undefined ? `${name} answered ${reply.code}` : `${name} ${error.kind}`);
  const ask = (name: string, timeoutMs?: number) =>
    peer.request(RequestCode.HEART_BEAT, undefined, undefined, timeoutMs, answer(name));
  return { time, wire, log, peer, ask, answer };
}

function frame(code: number, flag: number, opaque: number, kind: HeaderKind = 1, body?: Buffer): Buffer {
  const out = new Output();
  writeFrame(out, { kind, code, flag, opaque, language: 0, version: 401, remark: undefined }, { a: 'x' }, body);
  return Buffer.from(out.bytes.subarray(0, out.at));
}

const request = (opaque: number, code = 5): Buffer => frame(code, 0, opaque);
const reply = (opaque: number, code = 0): Buffer => frame(code, 1, opaque);

/** What was written, as frames. */
function frames(wire: ToldWire): { code: number; flag: number; opaque: number; kind: number; body: string }[] {
  const found: { code: number; flag: number; opaque: number; kind: number; body: string }[] = [];
  const reader = new FrameReader(LIMITS, (f) =>
    found.push({ code: f.code, flag: f.flag, opaque: f.opaque, kind: f.headerKind, body: f.body().toString() }),
  );
  for (const chunk of wire.written) expect(reader.read(chunk)).toBeUndefined();
  expect(reader.heldBytes).toBe(0);
  return found;
}

describe('a peer', () => {
  it('matches answers in any order and passes over unknown, late and repeated ones', () => {
    const { time, wire, log, ask } = stage();
    ask('first');
    ask('second');
    time.settle();
    const [one, two] = frames(wire);
    wire.onBytes(reply(two!.opaque, 2));
    wire.onBytes(reply(two!.opaque, 2));
    wire.onBytes(reply(9999));
    wire.onBytes(reply(-1));
    wire.onBytes(reply(one!.opaque, 1));
    expect(log).toEqual(['second answered 2', 'first answered 1']);
  });

  it('writes once per turn, whatever was staged in it', () => {
    const { time, wire, peer, ask } = stage();
    for (let n = 0; n < 50; n++) {
      ask(`ask ${n}`);
      peer.oneway(15, { n });
      peer.answer({ opaque: n, kind: 1, oneway: false }, 0);
    }
    expect(wire.written).toHaveLength(0);
    time.settle();
    expect(wire.written).toHaveLength(1);
    expect(frames(wire)).toHaveLength(150);
  });

  it('never answers a one-way request', () => {
    const { time, wire, log } = stage();
    wire.onBytes(frame(1002, 2, 7));
    wire.onBytes(frame(1002, 0, 8));
    time.settle();
    expect(log).toEqual(['request 7 oneway', 'request 8']);
    expect(frames(wire).map((f) => f.opaque)).toEqual([8]);
  });

  it('answers in the header kind of the request and asks in the kind last seen, JSON at first', () => {
    const { time, wire, ask } = stage();
    ask('before');
    wire.onBytes(frame(1002, 0, 1, 1));
    ask('after binary');
    wire.onBytes(frame(1002, 0, 2, 0));
    ask('after JSON');
    time.settle();
    expect(frames(wire).map((f) => f.kind)).toEqual([0, 1, 1, 0, 0]);
  });

  it('asks in the kind it was told to', () => {
    const { time, wire, ask } = stage({ kind: 'binary' });
    wire.onBytes(frame(1002, 0, 2, 0));
    ask('told');
    time.settle();
    expect(frames(wire).map((f) => f.kind)).toEqual([0, 1]);
  });

  it('fails each request after its own time, with one timer, and ignores the late answer', () => {
    const { time, wire, log, ask } = stage({ idleMs: 0 });
    ask('long', 500);
    ask('short', 100);
    ask('default');
    expect(time.timersWaiting).toBe(1);
    time.advance(99);
    expect(log).toEqual([]);
    time.advance(2);
    expect(log).toEqual(['short timeout']);
    time.advance(400);
    expect(log).toEqual(['short timeout', 'long timeout']);
    for (const { opaque } of frames(wire).slice(0, 2)) wire.onBytes(reply(opaque));
    time.advance(2500);
    expect(log).toEqual(['short timeout', 'long timeout', 'default timeout']);
    expect(time.timersWaiting).toBe(0);
  });

  it('may be asked again from inside a time-out', () => {
    const { time, log, peer, ask } = stage({ idleMs: 0 });
    peer.request(34, undefined, undefined, 100, () => ask('again', 100));
    time.advance(150);
    expect(log).toEqual([]);
    time.advance(60);
    expect(log).toEqual(['again timeout']);
  });

  it('fails what waits when the wire closes, once and in order, then tells its owner', () => {
    const { time, wire, log, ask } = stage();
    for (const name of ['a', 'b', 'c']) ask(name);
    time.settle();
    wire.onClose('cable pulled');
    wire.onClose('twice');
    ask('too late');
    expect(log).toEqual(['a closed', 'b closed', 'c closed', 'closed: cable pulled']);
    time.settle();
    expect(log.at(-1)).toBe('too late refused');
    expect(time.timersWaiting).toBe(0);
  });

  it('refuses more waiting requests than pendingMax, not inside the call', () => {
    const { time, wire, log, ask } = stage({ pendingMax: 2 });
    ask('a');
    ask('b');
    ask('c');
    expect(log).toEqual([]);
    time.settle();
    expect(log).toEqual(['c refused']);
    wire.onBytes(reply(frames(wire)[0]!.opaque));
    ask('d');
    time.settle();
    expect(log).toEqual(['c refused', 'a answered 0']);
  });

  it.each([
    ['a frame that is too long', Buffer.from('7fffffff00000000', 'hex'), /over the limit/],
    ['a frame that is too short', Buffer.from('0000000300000000', 'hex'), /too short/],
    ['a header longer than its frame', Buffer.from('0000000400000001', 'hex'), /header of 1 bytes/],
    ['an unknown header kind', Buffer.from('0000000402000000', 'hex'), /unknown header kind 2/],
    ['a header that is no JSON', Buffer.from('000000050000000178', 'hex'), /not an object/],
  ])('closes at %s and hands out nothing after it', (_name, bytes, reason) => {
    const { wire, log } = stage();
    wire.onBytes(Buffer.concat([request(1), bytes, request(2)]));
    wire.onBytes(request(3));
    expect(wire.closes).toEqual(['cut']);
    wire.onClose('closed here');
    expect(log).toHaveLength(2);
    expect(log[1]).toMatch(reason);
  });

  it('writes in a long turn as often as 32 KiB have come together, and again into memory that the wire has let go of', () => {
    const { time, wire, peer } = stage();
    const memory = new Set<ArrayBufferLike>();
    const held = wire as ToldWire & { isWritten?: () => boolean };
    held.write = (chunk) => {
      memory.add(chunk.buffer);
      return ToldWire.prototype.write.call(held, chunk);
    };
    for (let n = 0; n < 70; n++) peer.oneway(1, undefined, Buffer.alloc(1000, n));
    expect(frames(wire).length).toBeGreaterThan(60);
    time.settle();
    expect(frames(wire)).toHaveLength(70);
    expect(Buffer.concat(wire.written).filter((byte) => byte === 69).length).toBeGreaterThanOrEqual(1000);
    held.isWritten = () => true;
    memory.clear();
    for (let turn = 0; turn < 50; turn++) {
      for (let n = 0; n < 70; n++) peer.oneway(1, undefined, Buffer.alloc(1000));
      time.settle();
    }
    expect(memory.size).toBeLessThanOrEqual(2);
  });

  it('does not write again into what a Duplex was given, which may hand it on later', async () => {
    const [ours, theirs] = duplexPair();
    const time = new ManualTime();
    const ports = { clock: time, timers: time, turn: time };
    const peer = new Peer(duplexWire(ours), ports, { idleMs: 0 }, { onRequest() {}, onClose() {} });
    for (let n = 0; n < 4; n++) {
      peer.oneway(10, undefined, Buffer.from(`body-${n}`));
      time.settle();
      await new Promise((resolve) => setImmediate(resolve));
    }
    let text = '';
    theirs.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    while ((text.match(/body-/g) ?? []).length < 4) await new Promise((resolve) => setImmediate(resolve));
    expect(text.match(/body-\d/g)).toEqual(['body-0', 'body-1', 'body-2', 'body-3']);
  });

  it('stages while the wire asks to wait, writes at drain, tells its owner when congestion is over', () => {
    const { time, wire, log, peer } = stage({ outputSoftBytes: 1000, outputHardBytes: 100_000 });
    wire.accepts = false;
    peer.oneway(1, undefined, Buffer.alloc(500));
    time.settle();
    expect(wire.written).toHaveLength(1);
    peer.oneway(2, undefined, Buffer.alloc(900));
    time.settle();
    expect(wire.written).toHaveLength(1);
    expect(peer.congested).toBe(true);
    expect(peer.outputBytes).toBeGreaterThan(1400);
    wire.accepts = true;
    wire.onDrain();
    expect(wire.written).toHaveLength(2);
    expect(log).toEqual(['drain']);
    expect(peer.congested).toBe(false);
    expect(peer.outputBytes).toBe(0);
  });

  it('closes when more than outputHardBytes wait', () => {
    const { time, wire, log, peer } = stage({ outputSoftBytes: 1000, outputHardBytes: 10_000 });
    wire.accepts = false;
    for (let n = 0; n < 30; n++) peer.oneway(1, undefined, Buffer.alloc(500));
    time.settle();
    expect(wire.closes).toEqual(['cut']);
    wire.onClose('closed here');
    expect(log[0]).toMatch(/closed: \d+ bytes of output wait \(outputHardBytes 10000\)/);
    expect(peer.oneway(1, undefined)).toBe(false);
  });

  it('closes when the other side has taken nothing for outputStallMs, however much waits, and not while it takes some', () => {
    const { time, wire, log, peer } = stage({ outputStallMs: 10_000, idleMs: 0 });
    const told = wire as ToldWire & { unsentBytes?: () => number };
    let unsent = 32 * 1024 * 1024;
    told.unsentBytes = () => unsent;
    wire.accepts = false;
    peer.oneway(1, undefined, Buffer.alloc(unsent));
    time.settle();
    for (let second = 0; second < 60; second++) {
      time.advance(1000);
      unsent -= 1;
    }
    expect(wire.closes).toEqual([]);
    time.advance(9_000);
    expect(wire.closes).toEqual([]);
    time.advance(4_000);
    expect(wire.closes).toEqual(['cut']);
    wire.onClose('closed here');
    expect(log[0]).toMatch(/closed: the other side has taken no output for 1\d{4} ms \(outputStallMs\)/);
    expect(time.timersWaiting).toBe(0);
  });

  it('gives a wire that tells nothing of its progress time for each byte', () => {
    const { time, wire, peer } = stage({ outputStallMs: 10_000, idleMs: 0 });
    wire.accepts = false;
    peer.oneway(1, undefined, Buffer.alloc(640_000));
    time.settle();
    time.advance(19_000);
    expect(wire.closes).toEqual([]);
    time.advance(3000);
    expect(wire.closes).toEqual(['cut']);
  });

  it('as a server reads no requests while congested, and goes on in order afterwards', () => {
    const { time, wire, log, peer } = stage({ outputSoftBytes: 100, stopReadingWhenFull: true });
    wire.accepts = false;
    peer.oneway(1, undefined, Buffer.alloc(500));
    time.settle();
    expect(wire.paused).toBe(true);
    wire.onBytes(Buffer.concat([request(1), request(2)]));
    expect(log).toEqual([]);
    wire.accepts = true;
    wire.onDrain();
    time.settle();
    expect(log).toEqual(['drain', 'request 1', 'request 2']);
    expect(wire.paused).toBe(false);
  });

  it('paused by its handler keeps the rest of the chunk and what still comes, and hands it out in order', () => {
    const { time, wire, log, peer } = stage();
    const stream = Buffer.concat([request(1), frame(1000, 0, 2), request(3), frame(1000, 0, 4), request(5)]);
    wire.onBytes(stream.subarray(0, stream.length - 3));
    expect(log).toEqual(['request 1', 'request 2']);
    expect(wire.paused).toBe(true);
    wire.onBytes(stream.subarray(stream.length - 3));
    peer.resume();
    expect(log).toHaveLength(2);
    time.settle();
    expect(log).toEqual(['request 1', 'request 2', 'request 3', 'request 4']);
    expect(wire.paused).toBe(true);
    peer.resume();
    time.settle();
    expect(log.at(-1)).toBe('request 5');
    expect(wire.paused).toBe(false);
  });

  it('closed by its handler hands out nothing more of the chunk', () => {
    const { wire, log } = stage();
    wire.onBytes(Buffer.concat([frame(1001, 0, 1), request(2)]));
    wire.onBytes(request(3));
    wire.onClose('closed here');
    expect(log).toEqual(['request 1', 'closed: handler closed']);
  });

  it('gives large buffers back a second after it has become empty, whatever small things are said meanwhile', () => {
    const { time, wire, peer } = stage({ idleMs: 0 });
    const long = frame(5, 0, 1, 1, Buffer.alloc(100 * 1024));
    wire.onBytes(long.subarray(0, 90 * 1024));
    for (let n = 0; n < 6; n++) peer.oneway(5, undefined, Buffer.alloc(40 * 1024));
    wire.onBytes(long.subarray(90 * 1024));
    time.endTurn();
    expect(peer.bufferBytes).toBeGreaterThan(128 * 1024);
    for (let beat = 0; beat < 5; beat++) {
      wire.onBytes(request(beat, 1002));
      time.advance(250);
    }
    expect(peer.bufferBytes).toBeLessThanOrEqual(16 * 1024);
    expect(time.timersWaiting).toBe(0);
    expect(
      frames(wire)
        .filter(({ flag }) => flag === 1)
        .map(({ opaque }) => opaque),
    ).toEqual([0, 1, 2, 3, 4]);
  });

  it('gives back all but the beginning of a frame that does not go on, and reads that frame to its end', () => {
    const { time, wire, peer, log } = stage({ idleMs: 0 });
    const long = frame(5, 0, 1, 1, Buffer.alloc(100 * 1024));
    wire.onBytes(long.subarray(0, 90 * 1024));
    wire.onBytes(Buffer.concat([long.subarray(90 * 1024), request(2).subarray(0, 3)]));
    expect(peer.bufferBytes).toBeGreaterThan(90 * 1024);
    time.advance(1000);
    expect(peer.bufferBytes).toBeLessThanOrEqual(4);
    expect(peer.heldBytes).toBe(3);
    wire.onBytes(request(2).subarray(3, 7));
    wire.onBytes(Buffer.concat([request(2).subarray(7), request(3)]));
    expect(log).toEqual(['request 1', 'request 2', 'request 3']);
  });

  it('closes after idleMs without a byte either way', () => {
    const { time, wire, log, peer } = stage({ idleMs: 1000 });
    time.advance(900);
    wire.onBytes(request(1));
    time.advance(900);
    peer.oneway(1, undefined);
    time.advance(990);
    expect(wire.closes).toEqual([]);
    time.advance(20);
    expect(wire.closes).toEqual(['cut']);
    wire.onClose('closed here');
    expect(log.at(-1)).toBe('closed: no byte in either direction for 1000 ms (idleMs)');
  });

  it('closing gracefully sends what is staged first, and cuts when that takes too long', () => {
    const { time, wire, peer, ask, log } = stage({ closeGraceMs: 2000 });
    ask('waits');
    peer.close(true);
    expect(frames(wire)).toHaveLength(1);
    expect(wire.closes).toEqual(['graceful']);
    peer.answer({ opaque: 1, kind: 0, oneway: false }, 0);
    time.settle();
    expect(frames(wire)).toHaveLength(1);
    time.advance(2001);
    expect(wire.closes).toEqual(['graceful', 'cut']);
    wire.onClose('closed here');
    expect(log).toEqual(['waits closed', 'closed: closed here']);
  });

  it('knows what the other side said about itself', () => {
    const { wire, peer } = stage();
    expect(peer.remoteVersion).toBe(0);
    wire.onBytes(request(1));
    expect([peer.remoteVersion, peer.remoteLanguage]).toEqual([401, 0]);
  });

  it('gives each request exactly one outcome under random answers, times and closes', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ act: fc.constant('ask' as const), n: fc.integer({ min: 1, max: 300 }) }) },
      { weight: 4, arbitrary: fc.record({ act: fc.constant('reply' as const), n: fc.nat(200) }) },
      { weight: 2, arbitrary: fc.record({ act: fc.constant('advance' as const), n: fc.nat(120) }) },
      { weight: 1, arbitrary: fc.record({ act: fc.constant('settle' as const), n: fc.constant(0) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const { time, wire, peer } = stage({ idleMs: 0, pendingMax: 128 });
        const outcomes: number[] = [];
        for (const { act, n } of steps) {
          if (act === 'ask') {
            const id = outcomes.push(0) - 1;
            peer.request(34, undefined, undefined, n, () => outcomes[id]!++);
          } else if (act === 'reply') {
            wire.onBytes(reply(n));
          } else if (act === 'advance') {
            time.advance(n);
          } else {
            time.settle();
          }
          expect(outcomes.every((count) => count <= 1)).toBe(true);
        }
        wire.onClose('end');
        time.settle();
        expect(outcomes.every((count) => count === 1)).toBe(true);
        expect(peer.pendingCount).toBe(0);
        expect(time.timersWaiting).toBe(0);
      }),
    );
  });
});
