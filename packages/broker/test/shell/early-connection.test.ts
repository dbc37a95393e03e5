import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { Broker } from '../../src/shell/broker-shell.ts';

const folder = mkdtempSync(join(tmpdir(), 'tallystick-early-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('answers what a client sent while the broker was still recovering', async () => {
  const broker = new Broker({ dataDir: join(folder, 'data'), port: 0 });
  const starting = broker.start();
  const socket = await connected(broker);
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

/** Connects as soon as it listens. */
async function connected(broker: Broker): Promise<Socket> {
  while (broker.address === undefined) await new Promise((resolve) => setImmediate(resolve));
  const [, port] = broker.address.split(':');
  const socket = connect(Number(port), '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}
