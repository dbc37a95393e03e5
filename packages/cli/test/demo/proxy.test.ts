import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Proxy, type Tap } from '../../src/demo/proxy.ts';

let server: Server;
let serverPort: number;
let atServer: Socket[];
let proxies: Proxy[];

beforeEach(async () => {
  atServer = [];
  proxies = [];
  server = createServer((socket) => {
    atServer.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => socket.write(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  serverPort = (server.address() as AddressInfo).port;
});
afterEach(async () => {
  for (const proxy of proxies) await proxy.close();
  for (const socket of atServer) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const frame = (text: string) => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)]);

async function start(tap: Tap): Promise<{ proxy: Proxy; client: Socket; received: () => string; port: number }> {
  const proxy = new Proxy(serverPort, tap);
  proxies.push(proxy);
  const port = await proxy.listen();
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  let text = '';
  client.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  await new Promise((resolve) => client.once('connect', resolve));
  return { proxy, client, received: () => text, port };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('the proxy', () => {
  it('passes frames both ways, however the bytes are cut', async () => {
    const seen: string[] = [];
    const { client, received } = await start((direction, whole) => {
      seen.push(`${direction} ${whole.subarray(4).toString()}`);
      return 'pass';
    });
    const bytes = Buffer.concat([frame('one'), frame('two')]);
    for (const byte of bytes) client.write(Buffer.from([byte]));
    await until(() => received().length === bytes.length);
    expect(received()).toBe(bytes.toString('latin1'));
    expect(seen).toEqual(expect.arrayContaining(['to-broker one', 'to-broker two', 'to-bank one', 'to-bank two']));
    client.destroy();
  });

  it('swallows a frame and passes its neighbours', async () => {
    const { client, received } = await start((direction, whole) =>
      direction === 'to-broker' && whole.includes('lost') ? 'swallow' : 'pass',
    );
    client.write(Buffer.concat([frame('one'), frame('lost'), frame('two')]));
    const expected = Buffer.concat([frame('one'), frame('two')]).toString('latin1');
    await until(() => received().length >= expected.length);
    expect(received()).toBe(expected);
    client.destroy();
  });

  it('cuts connections, refuses new ones, and takes them again', async () => {
    const { proxy, client, port } = await start(() => 'pass');
    const closed = new Promise((resolve) => client.once('close', resolve));
    await until(() => atServer.length === 1);
    expect(proxy.cut()).toBe(1);
    await closed;
    const refused = connect(port, '127.0.0.1');
    refused.on('error', () => {});
    await new Promise((resolve) => refused.once('close', resolve));
    expect(proxy.refused).toBe(1);
    proxy.mend();
    const again = connect(port, '127.0.0.1');
    again.write(frame('hello'));
    const [echo] = await new Promise<[Buffer]>((resolve) => again.once('data', (chunk: Buffer) => resolve([chunk])));
    expect(echo.toString('latin1')).toBe(frame('hello').toString('latin1'));
    again.destroy();
  });

  it('holds back what the broker sends until it is dropped with the connections', async () => {
    const { proxy, client, received } = await start(() => 'pass');
    client.write(frame('one'));
    await until(() => received().length === 7);
    proxy.hold();
    client.write(frame('two'));
    const closed = new Promise((resolve) => client.once('close', resolve));
    proxy.dropHeld();
    await closed;
    expect(received()).toBe(frame('one').toString('latin1'));
  });
});
