import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeDisk, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { afterEach, describe, expect, it } from 'vitest';
import { Store } from '../../src/store/store.ts';
import { sinkOf, type RecoveryReport } from '../../src/store/store-types.ts';
import { messageOf, messagesIn, SMALL } from './machine.ts';

const SEGMENT_BYTES = 32 * 1024;
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function open(folder: string, flush: 'sync' | 'async'): Promise<{ store: Store; report: RecoveryReport }> {
  const ports = {
    disk: nodeDisk(folder),
    clock: systemClock,
    timers: systemTimers({ unref: true }),
    turn: systemTurn(),
    random: systemRandom(),
  };
  const signals = { arrived() {}, failed: (reason: string) => expect.fail(reason), full() {} };
  const store = new Store(ports, { ...SMALL, segmentBytes: SEGMENT_BYTES, reserveBytes: SEGMENT_BYTES, flush }, {}, signals, []);
  const report = await new Promise<RecoveryReport>((resolve, reject) =>
    store.open((error, found) => (error === undefined ? resolve(found) : reject(error))),
  );
  return { store, report };
}

function put(store: Store, n: number): Promise<string> {
  const m = messageOf(store, 'orders', 0, `${n}:`.padEnd(300, 'x'));
  return new Promise((resolve) => store.append(m, 'flush', sinkOf(resolve), 0));
}

function close(store: Store): Promise<void> {
  return new Promise((resolve, reject) => store.close((error) => (error === undefined ? resolve() : reject(error))));
}

async function readAll(store: Store): Promise<string[]> {
  const queue = store.queue('orders', 0);
  const bodies: string[] = [];
  for (let offset = 0; offset < queue.maxOffset;) {
    offset = await new Promise((resolve, reject) =>
      store.read({ queue, offset, maxCount: 32, maxBytes: 1e6 }, (result) => {
        if (result.status !== 'found') reject(new Error(`${result.status} ${result.reason}`));
        bodies.push(...messagesIn(result.chunks).map((message) => message.body.split(':')[0]!));
        resolve(result.nextOffset);
      }),
    );
  }
  return bodies;
}

describe('a store on a real folder', () => {
  it.each(['sync', 'async'] as const)('keeps what was appended over restarts (%s)', async (flush) => {
    const folder = mkdtempSync(join(tmpdir(), 'store-'));
    folders.push(folder);
    let next = 0;
    for (let round = 0; round < 3; round++) {
      const { store, report } = await open(folder, flush);
      expect(report).toMatchObject({ clean: true, isNew: round === 0, notes: [] });
      for (let burst = 0; burst < 5; burst++) {
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => put(store, next++)));
        expect(outcomes.every((outcome) => outcome === 'ok')).toBe(true);
      }
      expect(await readAll(store)).toEqual(Array.from({ length: next }, (_, n) => String(n)));
      await close(store);
    }
    const segments = readdirSync(join(folder, 'log')).filter((name) => /^\d{20}$/.test(name));
    expect(segments.length).toBeGreaterThan(2);
    expect(statSync(join(folder, 'log', segments[1]!)).size).toBe(SEGMENT_BYTES);
  });
});
