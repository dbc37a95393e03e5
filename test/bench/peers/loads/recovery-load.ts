/**
 * Three things on one store folder, each in a fresh process: `fill` writes a log of one segment and stops the broker; `recover` starts
 * a broker, which reads that segment from its beginning, checks every group and record and builds the queues' entries; `raw` reads the
 * same bytes with plain reads.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { Broker } from '@tallystick/broker';
import { measureIn } from '../../processes.ts';

const READ_BYTES = 256 * 1024;
const GIGABYTE = 1e9;
/** Bytes in the log per message of 100 bytes, roughly; the segment must not be full. */
const RECORD_BYTES = 310;

const [what, dataDir, bytesText] = process.argv.slice(2) as ['fill' | 'recover' | 'raw', string, string];
const bytes = Number(bytesText);
const broker = (): Broker => new Broker({ dataDir, port: 0, flush: 'async', segmentBytes: bytes });

async function fill(): Promise<object> {
  const filled = broker();
  await filled.start();
  const count = String(Math.floor((bytes * 0.95) / RECORD_BYTES));
  await measureIn(new URL('./fill-load.ts', import.meta.url).href, [filled.address!, 'plain', count]);
  await filled.stop();
  return {};
}

async function recover(): Promise<object> {
  const recovered = broker();
  const began = performance.now();
  await recovered.start();
  const seconds = (performance.now() - began) / 1000;
  const { scannedBytes } = recovered.core.recovery;
  await recovered.stop();
  return { gigabytesPerSecond: scannedBytes / GIGABYTE / seconds, scannedBytes };
}

/** Reads the first `bytes` bytes of the log's files. */
function raw(): object {
  const buffer = Buffer.alloc(READ_BYTES);
  const began = performance.now();
  let left = bytes;
  for (const name of readdirSync(join(dataDir, 'log')).sort()) {
    const file = openSync(join(dataDir, 'log', name), 'r');
    for (let rest = Math.min(left, fstatSync(file).size); rest > 0;) {
      const read = readSync(file, buffer, 0, Math.min(READ_BYTES, rest), null);
      if (read === 0) break;
      rest -= read;
      left -= read;
    }
    closeSync(file);
  }
  return { gigabytesPerSecond: (bytes - left) / GIGABYTE / ((performance.now() - began) / 1000) };
}

const result = what === 'fill' ? await fill() : what === 'recover' ? await recover() : raw();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
