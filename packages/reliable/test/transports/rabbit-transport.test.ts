import { EventEmitter } from 'node:events';
import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, it } from 'vitest';
import { rabbitTransport, type OutgoingMessage, type PublishOutcome, type RabbitTransportSettings } from '../../src/index.ts';
import type { RabbitPublishOptions } from '../../src/transports/rabbit-driver.ts';

interface Published {
  readonly exchange: string;
  readonly routingKey: string;
  readonly options: RabbitPublishOptions;
  readonly body: string;
  readonly confirm: (error?: Error) => void;
}

class FakeChannel extends EventEmitter {
  readonly published: Published[] = [];
  /** Whether the socket's buffer has room after a message. */
  room = true;
  throws: Error | undefined;

  publish(
    exchange: string,
    routingKey: string,
    content: Buffer,
    options: RabbitPublishOptions,
    confirmed: (error: unknown) => void,
  ): boolean {
    if (this.throws !== undefined) throw this.throws;
    this.published.push({
      exchange,
      routingKey,
      options,
      body: content.toString(),
      confirm: (error) => confirmed(error ?? null),
    });
    return this.room;
  }

  /** The broker ends the channel, as amqplib tells it: the error, then every callback, then the rest. */
  end(code?: number, message = 'ended'): void {
    if (code !== undefined) this.emit('error', Object.assign(new Error(message), { code }));
    for (const { confirm } of this.published.splice(0)) confirm(new Error('channel closed'));
    this.emit('close');
  }

  closed = false;

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

class FakeConnection extends EventEmitter {
  readonly channels: FakeChannel[] = [];
  closed = false;
  /** A channel is asked for and never opened. */
  mute = false;
  readonly connection = {
    stream: {
      noDelay: false,
      destroyed: '',
      setNoDelay: (on: boolean) => (this.connection.stream.noDelay = on),
      destroy: (error: Error) => (this.connection.stream.destroyed = error.message),
    },
  };

  createConfirmChannel(): Promise<FakeChannel> {
    const channel = new FakeChannel();
    this.channels.push(channel);
    return this.mute ? new Promise(() => undefined) : Promise.resolve(channel);
  }

  createChannel(): never {
    throw new Error('a transport consumes nothing');
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

/** Promises that are resolved already run on. */
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

let ids = 0;
const message = (more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  id: (++ids).toString(16).toUpperCase().padStart(32, '0'),
  topic: 'q',
  body: Buffer.from('x'),
  ...more,
});
const many = (count: number, more: Partial<OutgoingMessage> = {}): OutgoingMessage[] =>
  Array.from({ length: count }, () => message(more));

function world(settings: RabbitTransportSettings = {}) {
  const time = new ManualTime();
  const connections: FakeConnection[] = [];
  let refuse: Error | undefined;
  let mute = false;
  const attempts: number[] = [];
  const transport = rabbitTransport({
    connect: () => {
      attempts.push(time.now());
      if (refuse !== undefined) return Promise.reject(refuse);
      const connection = new FakeConnection();
      connection.mute = mute;
      connections.push(connection);
      return Promise.resolve(connection);
    },
    clock: time,
    timers: time,
    random: { u32: () => 0xffffffff },
    ...settings,
  });
  const settled = new Map<string, PublishOutcome>();
  return {
    time,
    transport,
    connections,
    settled,
    attempts,
    refuse: (error: Error | undefined) => (refuse = error),
    mute: (on: boolean) => (mute = on),
    /** So that its exchange has shown itself. */
    confirmOne: async (): Promise<void> => {
      const going = transport.publish([message()]);
      await turns();
      connections.at(-1)!.channels.at(-1)!.published.pop()!.confirm();
      await going;
    },
    channel: () => connections.at(-1)!.channels.at(-1)!,
    /** Publishes; outcomes land in `settled`. */
    publish: async (...batch: OutgoingMessage[]): Promise<void> => {
      for (const one of batch) void transport.publish([one]).then(([outcome]) => settled.set(one.id, outcome!));
      await turns();
    },
    outcome: (one: OutgoingMessage) => settled.get(one.id)?.outcome,
  };
}

describe('a confirmation', () => {
  it('alone makes a message confirmed; everything is mandatory, persistent and under its own id', async () => {
    const { publish, channel, outcome, connections } = world();
    const sent = message({ key: 'k', routingKey: 'orders.new', type: 'order.created', topic: 'orders' });
    await publish(sent);
    expect(connections[0]!.connection.stream.noDelay).toBe(true);
    const [one] = channel().published;
    expect(one).toMatchObject({
      exchange: '',
      routingKey: 'orders.new',
      options: { mandatory: true, persistent: true, messageId: sent.id, type: 'order.created' },
    });
    expect({ ...one!.options.headers }).toEqual({ 'tallystick-key': 'k', 'tallystick-topic': 'orders' });
    expect(outcome(sent)).toBeUndefined();
    one!.confirm();
    await turns();
    expect(outcome(sent)).toBe('confirmed');
  });

  it('after a return is none: the very message that came back is unroutable', async () => {
    const { publish, channel, outcome, settled } = world();
    const [a, b, c] = [message(), message(), message()];
    await publish(a);
    channel().published[0]!.confirm();
    await publish(b, c);
    channel().emit('return', {
      properties: { messageId: b.id },
      fields: { replyCode: 312, replyText: 'NO_ROUTE', exchange: '', routingKey: 'q' },
    });
    for (const { confirm } of channel().published.slice(1)) confirm();
    await turns();
    expect([a, b, c].map(outcome)).toEqual(['confirmed', 'unroutable', 'confirmed']);
    expect(settled.get(b.id)!.reason).toMatch(/312 NO_ROUTE/);
  });

  it('that is negative leaves it unknown whether some queue has the message', async () => {
    const { publish, channel, outcome } = world();
    const sent = message();
    await publish(sent);
    channel().published[0]!.confirm(new Error('message nacked'));
    await turns();
    expect(outcome(sent)).toBe('unknown');
  });

  it('that does not come in time makes the outcome unknown, and a silent connection is given up', async () => {
    const { publish, outcome, time, connections } = world({ confirmTimeoutMs: 1_000 });
    const sent = message();
    await publish(sent);
    time.advance(900);
    await turns();
    expect(outcome(sent)).toBeUndefined();
    time.advance(400);
    await turns();
    expect(outcome(sent)).toBe('unknown');
    expect(connections[0]!.connection.stream.destroyed).toMatch(/no confirmation within 1000 ms/);
    const next = message();
    time.advance(1_000);
    await publish(next);
    expect(connections).toHaveLength(2);
  });

  it('that is negative makes room: what waited behind a full window goes', async () => {
    const { publish, channel, outcome } = world({ windowMessages: 1 });
    const [first, second, third] = [message(), message(), message()];
    await publish(first, second, third);
    channel().published[0]!.confirm(new Error('message nacked'));
    await turns();
    expect(channel().published).toHaveLength(2);
    channel().published[1]!.confirm();
    await turns();
    expect([first, second].map(outcome)).toEqual(['unknown', 'confirmed']);
    expect(channel().published).toHaveLength(3);
  });

  it('is not shared with another message of the same id: that one goes its own way, after it', async () => {
    const { transport, publish, channel } = world();
    await publish(message());
    channel().published[0]!.confirm();
    await turns();
    const one = message();
    const both = Promise.all([transport.publish([one]), transport.publish([{ ...one, topic: 'elsewhere' }])]);
    await turns();
    expect(channel().published).toHaveLength(2);
    channel().published[1]!.confirm();
    await turns();
    expect(channel().published.map(({ routingKey }) => routingKey)).toEqual(['q', 'q', 'elsewhere']);
    channel().emit('return', {
      fields: { replyCode: 312, replyText: 'NO_ROUTE', exchange: '', routingKey: 'elsewhere' },
      properties: { messageId: one.id },
    });
    channel().published[2]!.confirm();
    expect((await both).map(([answer]) => answer!.outcome)).toEqual(['confirmed', 'unroutable']);
  });

  it('makes the headers of its message free for another of the same shape; before, each has its own', async () => {
    const { publish, channel, transport } = world();
    const first = message({ key: 'a', createdAt: 1 });
    await publish(first);
    const [one] = channel().published;
    one!.confirm();
    await turns();
    await publish(message({ key: 'b', createdAt: 2 }), message({ key: 'c', createdAt: 3 }), message({ createdAt: 4 }));
    const headers = channel().published.map(({ options }) => options.headers);
    expect(headers[1]).toBe(headers[0]);
    expect(headers.slice(1)).toEqual([
      { 'tallystick-key': 'b', 'tallystick-sent-at': '2' },
      { 'tallystick-key': 'c', 'tallystick-sent-at': '3' },
      { 'tallystick-sent-at': '4' },
    ]);
    expect(new Set(headers.slice(1)).size).toBe(3);
    expect(transport.state().onTheWay).toBe(3);
  });

  it('gives no other message headers that somebody has written into on the way, as tracing does', async () => {
    const { publish, channel } = world();
    await publish(message({ key: 'a' }));
    const [one] = channel().published;
    Object.assign(one!.options.headers, { baggage: 'of a' });
    one!.confirm();
    await turns();
    await publish(message({ key: 'b' }));
    expect(channel().published[1]!.options.headers).toEqual({ 'tallystick-key': 'b' });
  });

  it('leaves the headers that a sender added to their message', async () => {
    const { publish, channel } = world();
    await publish(message({ headers: new Map([['trace', '1']]) }));
    channel().published[0]!.confirm();
    await turns();
    await publish(message({ headers: new Map([['trace', '2']]) }), message());
    expect(channel().published.map(({ options }) => options.headers)).toEqual([{ trace: '1' }, { trace: '2' }, {}]);
  });

  it('is shared by the same message however often it is given while it is on its way', async () => {
    const here = world();
    await here.confirmOne();
    const one = message();
    const going = here.transport.publish(Array.from({ length: 20_000 }, () => one));
    expect(here.channel().published).toHaveLength(1);
    here.channel().published[0]!.confirm();
    expect(new Set((await going).map(({ outcome }) => outcome))).toEqual(new Set(['confirmed']));
    expect(await going).toHaveLength(20_000);
  });

  it('is shared by the same message given twice while it is on its way', async () => {
    const { transport, publish, channel } = world();
    await publish(message());
    channel().published[0]!.confirm();
    const sent = message();
    const both = Promise.all([transport.publish([sent]), transport.publish([sent])]);
    await turns();
    expect(channel().published).toHaveLength(2);
    channel().published[1]!.confirm();
    expect(await both).toEqual([[{ outcome: 'confirmed' }], [{ outcome: 'confirmed' }]]);
  });
});

describe('what is lost', () => {
  it('with the connection is unknown if it was on its way, and connecting waits longer each time', async () => {
    const { publish, channel, outcome, connections, time, refuse, attempts } = world({
      windowMessages: 2,
      reconnectFirstMs: 100,
      reconnectMaxMs: 1_000,
    });
    const [first, ...rest] = many(4);
    await publish(first!);
    channel().published[0]!.confirm();
    await publish(...rest);
    expect(channel().published).toHaveLength(3);
    refuse(new Error('connection refused'));
    connections[0]!.emit('error', new Error('read ECONNRESET'));
    channel().end();
    connections[0]!.emit('close', new Error('read ECONNRESET'));
    await turns();
    expect([first!, ...rest].map(outcome)).toEqual(['confirmed', 'unknown', 'unknown', 'unavailable']);
    const before = attempts.length;
    for (let probes = 0; probes < 300; probes++) {
      await publish(message());
      time.advance(10);
    }
    const waits = attempts.slice(before).map((at, n, all) => at - (all[n - 1] ?? at));
    expect(waits).toEqual([0, 200, 400, 800, 1_000]);
    expect(connections).toHaveLength(1);
    refuse(undefined);
    time.advance(1_000);
    const last = message();
    await publish(last);
    channel().published[0]!.confirm();
    await turns();
    expect(outcome(last)).toBe('confirmed');
    expect(connections).toHaveLength(2);
  });

  it('to a missing exchange is unroutable alone: its neighbours go over the next channel', async () => {
    const { publish, channel, outcome, connections } = world();
    const [good, bad, later] = [message(), message({ exchange: 'missing' }), message()];
    await publish(good);
    channel().published[0]!.confirm();
    await publish(bad, later);
    expect(channel().published.map(({ exchange }) => exchange)).toEqual(['', 'missing']);
    channel().end(404, "no exchange 'missing'");
    await turns();
    expect(outcome(bad)).toBe('unroutable');
    expect(outcome(later)).toBeUndefined();
    expect(connections[0]!.channels).toHaveLength(2);
    channel().published[0]!.confirm();
    await turns();
    expect(outcome(later)).toBe('confirmed');
  });

  it.each([
    [403, 'rejected'],
    [406, 'rejected'],
    [541, 'unknown'],
  ])('to a channel that ends with %i over a lone message makes that %s', async (code, expected) => {
    const { publish, channel, outcome } = world();
    const sent = message({ exchange: 'e' });
    await publish(sent);
    channel().end(code);
    await turns();
    expect(outcome(sent)).toBe(expected);
  });

  it('to a known exchange that is gone all at once is unknown, and the next messages go alone until it shows itself', async () => {
    const { publish, channel, outcome } = world();
    await publish(message({ exchange: 'e' }));
    channel().published[0]!.confirm();
    const [a, b] = many(2, { exchange: 'e' });
    await publish(a!, b!);
    expect(channel().published).toHaveLength(3);
    channel().published.shift();
    channel().end(404);
    await turns();
    expect([a!, b!].map(outcome)).toEqual(['unknown', 'unknown']);
    await publish(...many(2, { exchange: 'e' }));
    expect(channel().published).toHaveLength(1);
  });
});

describe('a message that is too large for the broker', () => {
  const LIMIT = 'PRECONDITION_FAILED - message size 600 is larger than configured max size 500';
  const large = (): OutgoingMessage => message({ body: Buffer.alloc(600) });

  it('is rejected alone, with both sizes; its neighbours are unknown', async () => {
    const { publish, channel, outcome, settled, confirmOne } = world();
    await confirmOne();
    const [before, bad, after] = [message(), large(), message()];
    await publish(before, bad, after);
    expect(channel().published).toHaveLength(3);
    channel().end(406, LIMIT);
    await turns();
    expect([before, bad, after].map(outcome)).toEqual(['unknown', 'rejected', 'unknown']);
    expect(settled.get(bad.id)!.reason).toBe('its body has 600 bytes, RabbitMQ takes at most 500 (its max_message_size)');
  });

  it('is not sent again once the limit is known, waiting or given later, until another connection leads to another broker', async () => {
    const { publish, channel, outcome, connections, time, confirmOne } = world({ windowMessages: 2 });
    await confirmOne();
    const [first, small, waiting] = [large(), message(), large()];
    await publish(first, small, waiting);
    channel().end(406, LIMIT);
    await turns();
    const later = large();
    await publish(later, small);
    expect([first, waiting, later].map(outcome)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(channel().published.map(({ options }) => options.messageId)).toEqual([small.id]);
    channel().published.shift()!.confirm();
    connections[0]!.emit('close', new Error('restarted'));
    channel().end();
    time.advance(1_000);
    const anew = large();
    await publish(anew);
    expect(connections).toHaveLength(2);
    channel().published[0]!.confirm();
    await turns();
    expect(outcome(anew)).toBe('confirmed');
  });

  it.each([403, 406])(
    'or otherwise refused (%i) among many is found out: each of them travels alone when it is repeated',
    async (code) => {
      const { publish, channel, outcome, confirmOne } = world();
      await confirmOne();
      const [a, bad, c, other] = many(4) as [OutgoingMessage, OutgoingMessage, OutgoingMessage, OutgoingMessage];
      await publish(a, bad, c);
      channel().end(code, 'something is wrong with one of them');
      await turns();
      expect([a, bad, c].map(outcome)).toEqual(['unknown', 'unknown', 'unknown']);
      await confirmOne();
      await publish(other, a, bad, c);
      const onTheWay = (): (string | undefined)[] => channel().published.map(({ options }) => options.messageId);
      expect(onTheWay()).toEqual([other.id]);
      channel().published.shift()!.confirm();
      await turns();
      expect(onTheWay()).toEqual([a.id]);
      channel().published.shift()!.confirm();
      await turns();
      expect(onTheWay()).toEqual([bad.id]);
      channel().end(code, 'something is wrong with one of them');
      await turns();
      expect(onTheWay()).toEqual([c.id]);
      channel().published.shift()!.confirm();
      await turns();
      expect([a, bad, c].map(outcome)).toEqual(['confirmed', 'rejected', 'confirmed']);
    },
  );
});

describe('a confirmation that is overdue while others come', () => {
  it('retires the channel: new messages go over another, those on their way keep their time, the last closes it', async () => {
    const { publish, outcome, time, connections, confirmOne } = world({ confirmTimeoutMs: 1_000 });
    await confirmOne();
    const [stuck, young, next] = many(3) as [OutgoingMessage, OutgoingMessage, OutgoingMessage];
    await publish(stuck);
    time.advance(900);
    await confirmOne();
    await publish(young);
    time.advance(350);
    await turns();
    expect([stuck, young].map(outcome)).toEqual(['unknown', undefined]);
    await publish(next);
    const [old, fresh] = connections[0]!.channels as [FakeChannel, FakeChannel];
    expect([connections.length, old.closed, fresh.published.length]).toEqual([1, false, 1]);
    fresh.published[0]!.confirm();
    old.published.at(-1)!.confirm();
    await turns();
    expect([outcome(young), outcome(next), old.closed, fresh.closed]).toEqual(['confirmed', 'confirmed', true, false]);
  });

  it('does not let what comes late from the old channel speak for the repeat', async () => {
    const { publish, outcome, time, connections, confirmOne, transport } = world({ confirmTimeoutMs: 1_000 });
    await confirmOne();
    const [stuck, young] = many(2) as [OutgoingMessage, OutgoingMessage];
    await publish(stuck);
    time.advance(900);
    await confirmOne();
    await publish(young);
    time.advance(350);
    await turns();
    expect(outcome(stuck)).toBe('unknown');
    const repeat = transport.publish([stuck]);
    await turns();
    const [old, fresh] = connections[0]!.channels as [FakeChannel, FakeChannel];
    old.emit('return', {
      properties: { messageId: stuck.id },
      fields: { replyCode: 312, replyText: 'NO_ROUTE', exchange: '', routingKey: 'q' },
    });
    old.published[0]!.confirm();
    fresh.published[0]!.confirm();
    expect(await repeat).toEqual([{ outcome: 'confirmed' }]);
  });
});

it('a channel that the broker does not open in time is given up with its connection', async () => {
  const { publish, outcome, time, connections, channel, mute } = world({ connectTimeoutMs: 500 });
  mute(true);
  const first = message();
  await publish(first);
  time.advance(500);
  await turns();
  expect(outcome(first)).toBe('unavailable');
  expect(connections[0]!.connection.stream.destroyed).toMatch(/opening of a channel within 500 ms/);
  mute(false);
  time.advance(1_000);
  const next = message();
  await publish(next);
  channel().published[0]!.confirm();
  await turns();
  expect([connections.length, outcome(next)]).toEqual([2, 'confirmed']);
});

describe('bounds', () => {
  it('the window in messages and in bytes, what waits, and a full socket', async () => {
    const { publish, transport, channel, outcome } = world({ windowMessages: 10, windowBytes: 1_000, waitingMax: 5 });
    await publish(message());
    channel().published[0]!.confirm();
    const batch = many(20);
    await publish(...batch);
    expect(transport.state()).toEqual({ waiting: 5, onTheWay: 10, onTheWayBytes: 10 });
    expect(batch.slice(15).map(outcome)).toEqual(Array.from({ length: 5 }, () => 'unavailable'));
    for (let n = 0; n < 16; n++) channel().published[n]?.confirm();
    await turns();
    expect(transport.state()).toEqual({ waiting: 0, onTheWay: 0, onTheWayBytes: 0 });
    await publish(...many(3, { body: Buffer.alloc(600) }));
    expect(transport.state()).toMatchObject({ waiting: 2, onTheWay: 1, onTheWayBytes: 600 });
    const before = channel().published.length;
    channel().room = false;
    channel().published.at(-1)!.confirm();
    channel().published.at(-1)!.confirm();
    await turns();
    // One was written although the buffer became full with it; the other waits for the drain.
    expect(channel().published.length).toBe(before + 1);
    channel().room = true;
    channel().emit('drain');
    await turns();
    expect(channel().published.length).toBe(before + 2);
  });

  it('a broker under a memory alarm: unavailable at once, also what waited; nothing is held for it', async () => {
    const { publish, outcome, connections, channel } = world({ windowMessages: 1 });
    const [sent, waiting, refused, after] = many(4);
    await publish(sent!, waiting!);
    connections[0]!.emit('blocked', 'low on memory');
    await publish(refused!);
    expect([sent!, waiting!, refused!].map(outcome)).toEqual([undefined, 'unavailable', 'unavailable']);
    connections[0]!.emit('unblocked');
    channel().published[0]!.confirm();
    await publish(after!);
    channel().published[1]!.confirm();
    await turns();
    expect([sent!, after!].map(outcome)).toEqual(['confirmed', 'confirmed']);
  });

  it('what AMQP cannot carry is rejected before it is sent', async () => {
    const { publish, outcome, settled, connections } = world({ bodyBytesMax: 100 });
    const bad = [
      message({ routingKey: 'ü'.repeat(128) }),
      message({ exchange: 'e'.repeat(256) }),
      message({ body: Buffer.alloc(101) }),
    ];
    await publish(...bad);
    expect(bad.map(outcome)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(settled.get(bad[0]!.id)!.reason).toMatch(/routing key has 256 bytes/);
    expect(connections).toHaveLength(0);
  });

  it('what the driver cannot write is rejected; a channel it knows to be gone is unavailable', async () => {
    const { publish, channel, outcome } = world();
    await publish(message());
    channel().published[0]!.confirm();
    const [large, late] = many(2);
    channel().throws = new RangeError('Encoded field table exceeds the encoding buffer');
    await publish(large!);
    channel().throws = Object.assign(new Error('Channel closed'), { name: 'IllegalOperationError' });
    await publish(late!);
    expect([large!, late!].map(outcome)).toEqual(['rejected', 'unavailable']);
  });
});

describe('the end', () => {
  it('waits for confirmations, refuses what comes later, and closes the connection', async () => {
    const { publish, transport, channel, outcome, connections, time } = world();
    const sent = message();
    await publish(sent);
    let closed = false;
    const closing = transport.close().then(() => (closed = true));
    const late = message();
    await publish(late);
    expect([closed, outcome(late)]).toEqual([false, 'unavailable']);
    channel().published[0]!.confirm();
    await closing;
    expect([outcome(sent), connections[0]!.closed, time.timersWaiting]).toEqual(['confirmed', true, 0]);
  });

  it('waits no longer than closeTimeoutMs', async () => {
    const { publish, transport, outcome, time } = world({ closeTimeoutMs: 500 });
    const sent = message();
    await publish(sent);
    const closing = transport.close();
    time.advance(500);
    await closing;
    expect(outcome(sent)).toBe('unknown');
  });

  it('of a channel that was handed in is unavailability, not a new connection', async () => {
    const channel = new FakeChannel();
    const transport = rabbitTransport({ channel });
    const [first, second] = many(2);
    const going = transport.publish([first!]);
    channel.published[0]!.confirm();
    expect(await going).toEqual([{ outcome: 'confirmed' }]);
    channel.end();
    expect((await transport.publish([second!]))[0]).toEqual({
      outcome: 'unavailable',
      reason: 'the channel that was handed in has ended',
    });
    expect(() => rabbitTransport({})).toThrow(/needs connect/);
  });
});
