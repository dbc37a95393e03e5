import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { Broker } from '../../src/shell/broker-shell.ts';

const folder = mkdtempSync(join(tmpdir(), 'tallystick-early-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('answers what a client sent while the broker was still recovering', async () => {
  const port = await freePort();
  const broker = new Broker({ dataDir: join(folder, 'data'), port });
  const starting = broker.start();
  const socket = await connected(port);
  const answered = new Promise<Buffer>((resolve) => socket.once('data', resolve));
  socket.write(frame({ code: 206, language: 'JAVA', version: 479, opaque: 7, flag: 0, extFields: {} }));
  await starting;
  expect((await answered).toString('latin1')).toContain('"opaque":7');
  socket.destroy();
  await broker.stop();
});

function frame(header: object): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const bytes = Buffer.alloc(8 + text.length);
  bytes.writeUInt32BE(4 + text.length, 0);
  bytes.writeUInt32BE(text.length, 4);
  text.copy(bytes, 8);
  return bytes;
}

/** Connects as soon as somebody listens. */
async function connected(port: number): Promise<Socket> {
  for (;;) {
    const socket = await new Promise<Socket | undefined>((resolve) => {
      const attempt = connect(port, '127.0.0.1', () => resolve(attempt));
      attempt.once('error', () => resolve(undefined));
    });
    if (socket !== undefined) return socket;
  }
}

async function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
