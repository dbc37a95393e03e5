import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  CONFIRMATION_TYPE,
  confirmationFrom,
  confirmationOf,
  createMonitor,
  createOutbox,
  MessageIds,
  REPLY_TO,
  SIGNATURE_HEADER,
  signatureOf,
  type Delivery,
  type Handle,
  type NewMessage,
} from '../../src/index.ts';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { backends, rowsOf, type Backend } from '../support/backends.ts';
import { failure } from '../support/outbox.ts';
import { world, type World } from '../support/world.ts';

const ids = new MessageIds(systemClock, systemRandom());

function deliveryOf(body: string | Uint8Array, more: Partial<Delivery> = {}): Delivery {
  return {
    id: ids.next(),
    topic: 'replies',
    headers: new Map(),
    body: Buffer.from(body),
    redelivered: false,
    type: CONFIRMATION_TYPE,
    ...more,
  };
}

const said = (serial: string): string => JSON.stringify({ serial, consumer: 'wallet', at: 1 });

function outboxOf({ app, time }: World) {
  return createOutbox(app.handle, { clock: time, turn: time, timers: time, durability: 'trust', replyTo: 'replies' });
}

const WANTED: Partial<NewMessage> = { confirm: { by: 'consumer', withinMs: 30_000 }, replyTo: 'replies' };

/** Sets a row's state as the relay or a person would have left it. */
function setState(here: World, id: string, state: string): void {
  here.app.raw.prepare('update tallystick_outbox set state = ? where id = ?').run([state, id]);
}

/** What the process warns of from now on; they come a turn later. */
function heardWarnings(): () => Promise<readonly string[]> {
  const warnings: string[] = [];
  const heard = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', heard);
  onTestFinished(() => void process.off('warning', heard));
  return async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return warnings;
  };
}

const bodies = (here: World): number => rowsOf(here.app.raw, 'select id from tallystick_outbox_body').length;

describe.each(backends)('a consumer’s confirmation on $name', (backend: Backend) => {
  test.each(['waiting', 'delayed', 'retrying', 'sent', 'dead'])(
    'settles a row that is %s, whatever the relay has written so far: head and body are gone',
    async (state) => {
      const here = await world(backend);
      const [id] = await here.add(WANTED);
      setState(here, id!, state);
      expect(await outboxOf(here).confirm(id!)).toBe('confirmed');
      expect([here.states(), bodies(here)]).toEqual([[], 0]);
    },
  );

  test('leaves a head without a body behind where the message is kept for questions, and a second one changes nothing', async () => {
    const here = await world(backend);
    const [id] = await here.add({ ...WANTED, keepMs: 60_000, businessKey: 'order 1' });
    setState(here, id!, 'sent');
    const outbox = outboxOf(here);
    expect(await outbox.confirm(id!)).toBe('confirmed');
    expect(bodies(here)).toBe(0);
    const first = await outbox.status({ id: id! });
    expect(first).toMatchObject({ status: 'confirmed', messages: [{ lastOutcome: 'confirmed', businessKey: 'order 1' }] });
    expect(first.messages[0]!.dueAt - first.messages[0]!.changedAt).toBe(60_000);
    expect(await outbox.confirm(id!)).toBe('repeated');
    expect(await outbox.status({ id: id! })).toEqual(first);
    expect(outbox.counters.confirmations).toMatchObject({ confirmed: 1, repeated: 1, unknown: 0 });
  });

  test('of a message that is settled and forgotten, or was never here, changes nothing', async () => {
    const here = await world(backend);
    const [id, other] = await here.add(WANTED, {});
    const outbox = outboxOf(here);
    expect([await outbox.confirm(id!), await outbox.confirm(id!), await outbox.confirm(ids.next())]).toEqual([
      'confirmed',
      'unknown',
      'unknown',
    ]);
    expect((await outbox.status({ id: other! })).status).toBe('waiting');
  });

  test('of a message that a person has buried leaves it buried, and says beside the reason that it arrived', async () => {
    const here = await world(backend);
    const [id] = await here.add(WANTED);
    setState(here, id!, 'buried');
    const outbox = outboxOf(here);
    expect(await outbox.confirm(id!)).toBe('buried');
    expect(await outbox.status({ id: id! })).toMatchObject({ status: 'buried', messages: [{ lastOutcome: 'confirmed' }] });
    expect(await outbox.confirm(id!)).toBe('buried');
  });

  test('can be part of the sender’s own transaction, and is undone with it', async () => {
    const here = await world(backend);
    const [id] = await here.add(WANTED);
    const outbox = outboxOf(here);
    const refused = await failure(() =>
      (outbox.transaction as (work: (tx: Handle) => unknown) => unknown)((tx) => {
        const confirmed = outbox.confirm(id!, tx) as string | Promise<string>;
        const refuse = (): never => {
          throw new Error('no');
        };
        return confirmed instanceof Promise ? confirmed.then(refuse) : refuse();
      }),
    );
    expect(refused.message).toBe('no');
    expect([here.states(), bodies(here)]).toEqual([['waiting'], 1]);
    expect((await failure(() => outbox.confirm(id!, here.app.handle))).code).toBe('NOT_IN_TRANSACTION');
    await (outbox.transaction as (work: (tx: Handle) => unknown) => unknown)((tx) => outbox.confirm(id!, tx));
    expect([here.states(), bodies(here)]).toEqual([[], 0]);
  });

  test('of another channel settles nothing here, and is told once: it was acknowledged, and is missing where it belongs', async () => {
    const here = await world(backend);
    const [id, next] = await here.add(WANTED, WANTED);
    const warnings = heardWarnings();
    const other = createOutbox(here.app.handle, { durability: 'trust', channel: 'other' });
    expect([await other.confirm(id!), await other.confirm(next!), await other.confirm(id!)]).toEqual(Array(3).fill('elsewhere'));
    expect([here.states(), other.counters.confirmations.elsewhere]).toEqual([['waiting', 'waiting'], 3]);
    expect(await warnings()).toEqual([
      `the confirmation of ${id!} has arrived at an outbox of another channel than its message's, which will be sent again: look at its replyTo`,
    ]);
  });

  test('of messages that nobody knows here is told when a hundred come in a row, not when repeats come between others', async () => {
    const here = await world(backend);
    const [id] = await here.add({ ...WANTED, keepMs: 60_000 });
    const warnings = heardWarnings();
    const outbox = outboxOf(here);
    await outbox.confirm(id!);
    const strangers = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) await outbox.confirm(ids.next());
    };
    await strangers(99);
    await outbox.confirm(id!);
    await strangers(99);
    expect(await warnings()).toEqual([]);
    await strangers(101);
    expect(await warnings()).toEqual([expect.stringContaining('100 confirmations in a row are of no message known here')]);
  });

  test('arrives as a message of the reply topic; what is none is counted and not asked for again', async () => {
    const here = await world(backend);
    const [id] = await here.add(WANTED);
    const outbox = outboxOf(here);
    const receive = outbox.confirmations();
    const wrong = ['', '{', '[]', 'null', '{"serial":5}', `{"serial":"${id!.toLowerCase()}"}`, 'x'.repeat(5_000)];
    for (const body of wrong) expect(await receive(deliveryOf(body))).toBe('done');
    expect(await receive(deliveryOf(said(id!), { type: 'order.created' }))).toBe('done');
    expect(here.states()).toEqual(['waiting']);
    expect(await receive(deliveryOf(said(id!)))).toBe('done');
    expect(await receive(deliveryOf(said(id!), { type: undefined }))).toBe('done');
    expect(here.states()).toEqual([]);
    expect(outbox.counters.confirmations).toEqual({
      confirmed: 1,
      repeated: 0,
      buried: 0,
      elsewhere: 0,
      unknown: 1,
      malformed: wrong.length + 1,
      failed: 0,
    });
  });

  test('is asked for again when the database refuses', async () => {
    const here = await world(backend);
    const [id] = await here.add(WANTED);
    const warnings = heardWarnings();
    here.app.raw.exec('alter table tallystick_outbox rename to elsewhere');
    const outbox = outboxOf(here);
    const receive = outbox.confirmations();
    expect(await receive(deliveryOf(said(id!)))).toBe('again');
    expect(await receive(deliveryOf(said(id!)))).toBe('again');
    expect(outbox.counters.confirmations.failed).toBe(2);
    // Once: a broker that delivers again and again must not fill a log.
    expect(await warnings()).toEqual(["a consumer's confirmation cannot be written down: no such table: tallystick_outbox"]);
    here.app.raw.exec('alter table elsewhere rename to tallystick_outbox');
    expect(await receive(deliveryOf(said(id!)))).toBe('done');
  });
});

describe('what add says of a message whose consumer confirms', () => {
  const backend = backends[0]!;

  test('its header names where to, its row how long to wait', async () => {
    const here = await world(backend);
    await here.add(WANTED, { confirm: { by: 'consumer', withinMs: 5 }, replyTo: 'https://shop.example/confirm' }, {});
    expect(
      rowsOf(here.app.raw, 'select confirm_within from tallystick_outbox order by sequence').map((row) =>
        Number(row['confirm_within']),
      ),
    ).toEqual([30_000, 5, 0]);
    const headers = rowsOf(here.app.raw, 'select headers from tallystick_outbox_body order by id').map((row) => row['headers']);
    expect(headers).toEqual([`[["${REPLY_TO}","replies"]]`, `[["${REPLY_TO}","https://shop.example/confirm"]]`, null]);
  });

  test.each<[string, Partial<NewMessage>, string]>([
    ['no place to confirm to', { confirm: { by: 'consumer', withinMs: 5 } }, "needs 'replyTo'"],
    ['a place that is no http address', { ...WANTED, replyTo: 'ftp://x/y' }, 'no http or https URL'],
    ['an address that is none', { ...WANTED, replyTo: 'https://' }, 'no http or https URL'],
    ['no time', { ...WANTED, confirm: { by: 'consumer', withinMs: 0 } }, 'less than 1'],
    ['a time that is none', { ...WANTED, confirm: { by: 'consumer', withinMs: 1.5 } }, 'not a time'],
    ['somebody else', { ...WANTED, confirm: { by: 'nobody', withinMs: 1 } as never }, 'neither'],
    ['a time to keep that is none', { keepMs: -1 }, 'keepMs -1'],
    ['two times to leave', { notBefore: 1, delayMs: 1 }, 'both given'],
    ['an age to wait', { delayMs: 1e15 }, '100 years'],
  ])('%s is refused', async (_name, given, sentence) => {
    const here = await world(backend);
    const error = await failure(() => here.add(given));
    expect(error).toMatchObject({ code: 'BAD_MESSAGE', message: expect.stringContaining(sentence) as string });
  });
});

describe('what a consumer owes', () => {
  const serial = 'AB'.repeat(16);

  test('is nothing for a message that asks for nothing, or has no serial number', () => {
    expect(confirmationOf({ id: serial, headers: new Map() }, 'wallet', 5)).toBeUndefined();
    expect(confirmationOf({ id: 'foreign', headers: new Map([[REPLY_TO, 'replies']]) }, 'wallet', 5)).toBeUndefined();
  });

  test('is a message to the topic that the delivery names', () => {
    const owed = confirmationOf({ id: serial, headers: new Map([[REPLY_TO, 'replies']]) }, 'wallet', 5);
    expect(owed).toMatchObject({ by: 'message', message: { type: CONFIRMATION_TYPE, topic: 'replies' } });
    const body = (owed as { message: NewMessage }).message.body as string;
    expect(confirmationFrom(Buffer.from(body))).toEqual({ serial, consumer: 'wallet', at: 5 });
  });

  test('is a request to the address that the delivery names', () => {
    const owed = confirmationOf({ id: serial, headers: new Map([[REPLY_TO, 'HTTPS://shop.example/c']]) }, 'wallet', 5);
    expect(owed).toMatchObject({ by: 'request', request: { method: 'POST', url: 'HTTPS://shop.example/c' } });
  });
});

describe('the receiving end over HTTP', () => {
  async function serve(options: Parameters<ReturnType<typeof outboxOf>['confirmationHandler']>[0] = { open: true }) {
    const here = await world(backends[0]!);
    const outbox = outboxOf(here);
    const handler = outbox.confirmationHandler(options);
    const server: Server = createServer(handler);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => new Promise((resolve) => void (server.closeAllConnections(), server.close(() => resolve()))));
    const { port } = server.address() as AddressInfo;
    const post = async (body: string, headers: Record<string, string> = {}, method = 'POST') => {
      const answer = await fetch(`http://127.0.0.1:${port}/confirm`, { method, headers, ...(method === 'POST' ? { body } : {}) });
      return { status: answer.status, said: (await answer.json()) as Record<string, string> };
    };
    return { here, outbox, post, port };
  }

  test('confirms, answers a repeat and a forgotten message alike with 200, and what is none with 400', async () => {
    const { here, post, outbox } = await serve();
    const [id] = await here.add({ ...WANTED, keepMs: 1_000 });
    expect(await post(said(id!))).toEqual({ status: 200, said: { serial: id, outcome: 'confirmed' } });
    expect(await post(said(id!))).toEqual({ status: 200, said: { serial: id, outcome: 'repeated' } });
    const forgotten = ids.next();
    expect(await post(said(forgotten))).toEqual({ status: 200, said: { serial: forgotten, outcome: 'unknown' } });
    expect((await post('{"serial":"short"}')).status).toBe(400);
    expect((await post('', {}, 'GET')).status).toBe(405);
    expect(outbox.counters.confirmations.malformed).toBe(1);
  });

  test('takes no more than 4 KiB, however the body comes', async () => {
    const { here, post, port } = await serve();
    const [id] = await here.add(WANTED);
    expect((await post(said(id!) + ' '.repeat(5_000))).status).toBe(413);
    const answered = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = httpRequest({ port, host: '127.0.0.1', method: 'POST' }, resolve);
      request.on('error', reject);
      for (let i = 0; i < 100; i++) request.write('x'.repeat(100));
    });
    expect(answered.statusCode).toBe(413);
    answered.destroy();
    expect(here.states()).toEqual(['waiting']);
  });

  test('with a token takes only requests that bear it', async () => {
    const { here, post } = await serve({ token: 'secret' });
    const [id] = await here.add(WANTED);
    expect((await post(said(id!))).status).toBe(401);
    expect((await post(said(id!), { authorization: 'Bearer secre' })).status).toBe(401);
    expect(here.states()).toEqual(['waiting']);
    expect((await post(said(id!), { authorization: 'Bearer secret' })).status).toBe(200);
    expect(here.states()).toEqual([]);
  });

  test('with a secret takes only bodies that are signed with it', async () => {
    const { here, post } = await serve({ secret: 'k' });
    const [id] = await here.add(WANTED);
    const body = said(id!);
    expect((await post(body)).status).toBe(401);
    expect((await post(body, { [SIGNATURE_HEADER]: signatureOf(body, 'other') })).status).toBe(401);
    expect((await post(`${body} `, { [SIGNATURE_HEADER]: signatureOf(body, 'k') })).status).toBe(401);
    expect(here.states()).toEqual(['waiting']);
    expect((await post(body, { [SIGNATURE_HEADER]: signatureOf(body, 'k') })).status).toBe(200);
  });

  test.each([
    [{ token: '' }, 'token is empty'],
    [{ secret: '' }, 'secret is empty'],
    [{ secret: new Uint8Array() }, 'secret is empty'],
    [{ secret: undefined }, 'secret is undefined'],
    [{ token: 't', secret: undefined }, 'secret is undefined'],
    [{ secret: undefined, open: true }, 'secret is undefined'],
    [undefined as never, 'say how a request proves'],
    [{}, 'say how a request proves'],
    [{ open: false }, 'say how a request proves'],
    [{ token: 't', open: true }, 'say how a request proves'],
  ])('refuses %o, with which everybody might confirm: %s', async (options, why) => {
    const outbox = outboxOf(await world(backends[0]!));
    expect(() => outbox.confirmationHandler(options)).toThrow(why);
  });

  test('says so when somebody has read the body before', async () => {
    const outbox = outboxOf(await world(backends[0]!));
    const handler = outbox.confirmationHandler({ open: true });
    const server = createServer((request, response) => {
      request.resume().on('end', () => setTimeout(() => handler(request, response), 5));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => new Promise((resolve) => void (server.closeAllConnections(), server.close(() => resolve()))));
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/`, {
      method: 'POST',
      body: said(ids.next()),
      signal: AbortSignal.timeout(10_000),
    });
    expect(answer.status).toBe(500);
    expect(await answer.text()).toContain('before any body parser');
  });

  test('asks to come again while the database refuses', async () => {
    const { here, post } = await serve();
    const [id] = await here.add(WANTED);
    here.app.raw.exec('alter table tallystick_outbox rename to elsewhere');
    expect((await post(said(id!))).status).toBe(503);
    here.app.raw.exec('alter table elsewhere rename to tallystick_outbox');
    expect((await post(said(id!))).status).toBe(200);
  });
});

describe.each(backends)('the ticket on $name', (backend: Backend) => {
  test('of a serial number says where the message is, and unknown once it is settled and forgotten', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const [id] = await here.add({ businessKey: 'order 1', key: 'k', type: 'order.created' });
    expect(await outbox.status({ id: id! })).toMatchObject({
      status: 'waiting',
      messages: [
        { id, status: 'waiting', type: 'order.created', businessKey: 'order 1', key: 'k', attempts: 0, lastError: undefined },
      ],
    });
    await outbox.confirm(id!);
    expect(await outbox.status({ id: id! })).toEqual({ status: 'unknown', messages: [] });
    expect(await outbox.status({ businessKey: 'order 1' })).toEqual({ status: 'unknown', messages: [] });
  });

  test('of a business key is the most troubled of its messages, all of them in the answer, the newest first', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const about = { businessKey: 'order 1', keepMs: 1_000 };
    const [first, second, third] = await here.add(about, about, about, { businessKey: 'order 2' });
    await outbox.confirm(first!);
    expect(await outbox.status({ businessKey: 'order 1' })).toMatchObject({
      status: 'waiting',
      messages: [{ id: third }, { id: second }, { id: first, status: 'confirmed' }],
    });
    setState(here, second!, 'dead');
    expect((await outbox.status({ businessKey: 'order 1' })).status).toBe('dead');
    await createMonitor(here.app.handle).counts();
    await outbox.confirm(second!);
    await outbox.confirm(third!);
    expect((await outbox.status({ businessKey: 'order 1' })).status).toBe('confirmed');
  });
});
