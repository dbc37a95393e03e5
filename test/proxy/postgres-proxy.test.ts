import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { FrameReader } from './postgres-frames.ts';
import { type JudgedFrame, PostgresProxy, type Verdict } from './postgres-proxy.ts';

/** As much of PostgreSQL as the driver needs for simple queries. It notes the statements that reached it. */
async function pretender(): Promise<{ port: number; statements: string[]; ended: Promise<void> }> {
  const statements: string[] = [];
  let tell: () => void;
  const ended = new Promise<void>((resolve) => (tell = resolve));
  const server = createServer((socket: Socket) => {
    const reader = new FrameReader('to-server');
    let status = 'I';
    socket.on('error', () => undefined);
    socket.on('close', () => tell());
    socket.on('data', (chunk: Buffer) => {
      for (const { type, text } of reader.read(chunk)) {
        if (type === '') socket.write(Buffer.concat([frame('R', Buffer.from([0, 0, 0, 0])), frame('Z', Buffer.from('I'))]));
        if (type !== 'Q') continue;
        statements.push(text);
        status = /^begin/i.test(text) ? 'T' : /^(commit|rollback)/i.test(text) ? 'I' : status;
        socket.write(Buffer.concat([frame('C', Buffer.from(`${text.toUpperCase()}\0`)), frame('Z', Buffer.from(status))]));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: (server.address() as { port: number }).port, statements, ended };
}

function frame(type: string, rest: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(4 + rest.length, 1);
  return Buffer.concat([head, rest]);
}

const DIALOGUE = ['begin', 'set a', 'set b', 'commit'];

/** Runs the dialogue through a proxy; answers which statements the client believes done. */
async function talk(port: number): Promise<string[]> {
  const client = new pg.Client({ connectionString: `postgres://u@127.0.0.1:${port}/d` });
  client.on('error', () => undefined);
  await client.connect();
  const done: string[] = [];
  try {
    for (const statement of DIALOGUE) {
      await client.query(statement);
      done.push(statement);
    }
  } catch {
    // Cut, as wanted.
  }
  await client.end().catch(() => undefined);
  return done;
}

test('frames are found however the bytes are split', () => {
  const bytes = Buffer.concat([
    frame('C', Buffer.from('INSERT 0 1\0')),
    frame('Z', Buffer.from('T')),
    frame('Z', Buffer.from('I')),
  ]);
  for (let step = 1; step <= bytes.length; step++) {
    const reader = new FrameReader('to-client');
    const seen = [];
    for (let at = 0; at < bytes.length; at += step) seen.push(...reader.read(bytes.subarray(at, at + step)));
    expect(seen.map(({ type, text }) => `${type} ${text}`)).toEqual(['C INSERT 0 1', 'Z T', 'Z I']);
  }
});

test('a statement that the server keeps under a name is known by it each time it is asked for', () => {
  const reader = new FrameReader('to-server');
  const start = Buffer.alloc(8);
  start.writeUInt32BE(8);
  start.writeUInt32BE(196_608, 4);
  const frames = [
    start,
    frame('P', Buffer.from('settle\0delete from it\0\0\0')),
    frame('B', Buffer.from('\0settle\0\0\0')),
    frame('P', Buffer.from('\0select 1\0\0\0')),
    frame('B', Buffer.from('\0\0\0\0')),
    frame('B', Buffer.from('portal\0settle\0\0\0')),
  ];
  expect(reader.read(Buffer.concat(frames)).map(({ type, text }) => `${type} ${text}`)).toEqual([
    ' ',
    'P delete from it',
    'B delete from it',
    'P select 1',
    'B ',
    'B delete from it',
  ]);
});

test('without a judge the dialogue passes, and only the transaction’s frames are counted', async () => {
  const server = await pretender();
  const seen: JudgedFrame[] = [];
  const proxy = await PostgresProxy.listen(server.port, { judge: (one) => (seen.push(one), 'pass') });
  expect(await talk(proxy.port)).toEqual(DIALOGUE);
  expect(await talk(proxy.port)).toEqual(DIALOGUE);
  const first = seen.slice(0, seen.length / 2);
  expect(first.filter(({ direction }) => direction === 'to-server').map(({ number, text }) => `${number} ${text}`)).toEqual([
    '1 begin',
    '2 set a',
    '3 set b',
    '4 commit',
  ]);
  expect(first.filter(({ direction }) => direction === 'to-client').at(-1)).toMatchObject({ number: 8, type: 'Z', text: 'I' });
  expect(proxy.cuts).toBe(0);
  await proxy.close();
});

test.each([
  { verdict: 'cut-after', reached: 4, believed: 3 },
  { verdict: 'cut-before', reached: 3, believed: 3 },
] as const)(
  '$verdict of the client’s COMMIT: the server saw $reached statements, the client was told of $believed',
  async (row) => {
    const server = await pretender();
    const judge = ({ text, direction }: JudgedFrame): Verdict =>
      direction === 'to-server' && text === 'commit' ? row.verdict : 'pass';
    const proxy = await PostgresProxy.listen(server.port, { judge });
    expect(await talk(proxy.port)).toHaveLength(row.believed);
    await server.ended;
    expect(server.statements).toHaveLength(row.reached);
    expect(proxy.cuts).toBe(1);
    await proxy.close();
  },
);

test('the answer to COMMIT is lost: the server has committed, the client does not know', async () => {
  const server = await pretender();
  const judge = ({ text, type, direction }: JudgedFrame): Verdict =>
    direction === 'to-client' && type === 'C' && text === 'COMMIT' ? 'cut-before' : 'pass';
  const proxy = await PostgresProxy.listen(server.port, { judge });
  expect(await talk(proxy.port)).toEqual(['begin', 'set a', 'set b']);
  expect(server.statements).toEqual(DIALOGUE);
  await proxy.close();
});
