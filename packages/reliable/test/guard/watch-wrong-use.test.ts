import { createServer, get, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { migrate, transaction, watchWrongUse, type WatchSettings, type WrongUse, type WrongUseWatch } from '../../src/index.ts';
import { tracking } from '../../src/sql/tracking.ts';
import { backends, connect, databasePath, type Connection } from '../support/backends.ts';

const backend = backends.find(({ kind }) => kind === 'async')!;
const server = createServer((_request, answer) => void answer.end('ok'));
let url: string;
let db: Connection;
let reports: WrongUse[];

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/pay`;
});
afterAll(() => void server.close());

beforeEach(async () => {
  db = connect(backend, databasePath());
  await migrate(db.handle);
  reports = [];
});

function watching(settings: WatchSettings = { onReport: (report) => void reports.push(report) }): WrongUseWatch {
  const watch = watchWrongUse(settings);
  onTestFinished(() => watch.stop());
  return watch;
}

async function callPayment(): Promise<void> {
  await (await fetch(url, { method: 'POST' })).text();
}

class Channel {
  readonly published: string[] = [];

  publish(_exchange: string, key: string): boolean {
    this.published.push(key);
    return true;
  }
}

describe('inside an open transaction', () => {
  test('a fetch is reported with the place of the call and of the transaction', async () => {
    watching();
    await transaction(db.handle, async () => {
      await Promise.resolve();
      await callPayment();
    });
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ kind: 'http', what: `POST ${url}` });
    expect(reports[0]!.stack).toMatch(/callPayment.*watch-wrong-use\.test\.ts/);
    expect(reports[0]!.transactionStack).toContain('watch-wrong-use.test.ts');
  });

  test('requests of node:http are reported', async () => {
    watching();
    await transaction(db.handle, async () => {
      await new Promise((resolve) => get(url, (answer) => answer.resume().on('end', resolve)));
      await new Promise((resolve) => request(url, { method: 'PUT' }, (answer) => answer.resume().on('end', resolve)).end());
    });
    expect(reports.map(({ what }) => what)).toEqual([`GET ${host()}/pay`, `PUT ${host()}/pay`]);
  });

  test('a publish on what is watched is reported, and published', async () => {
    const watch = watching();
    const watched = watch.watch(new Channel());
    await transaction(db.handle, async () => void watched.publish('', 'orders'));
    expect(reports).toMatchObject([{ kind: 'publish', what: 'publish' }]);
    expect(watched.published).toEqual(['orders']);
  });

  test('what is ignored on purpose is not reported', async () => {
    watching({ onReport: (report) => void reports.push(report), ignore: ({ what }) => what.endsWith('/pay') });
    await transaction(db.handle, callPayment);
    expect(reports).toEqual([]);
  });

  test('a reporter that throws changes nothing for the program', async () => {
    const warned = new Promise((resolve) => process.once('warning', resolve));
    watching({
      onReport: () => {
        throw new Error('broken reporter');
      },
    });
    await transaction(db.handle, callPayment);
    expect(await warned).toMatchObject({ name: 'TallystickWrongUse' });
  });
});

describe('not reported is a call', () => {
  test('outside of any transaction, also while another one is open', async () => {
    const watch = watching();
    const watched = watch.watch(new Channel());
    await callPayment();
    let end: () => void = () => undefined;
    const open = transaction(db.handle, () => new Promise<void>((resolve) => (end = resolve)));
    await Promise.resolve();
    await callPayment();
    watched.publish('', 'orders');
    end();
    await open;
    expect(reports).toEqual([]);
  });

  test('after the commit, even from what the transaction left running', async () => {
    watching();
    let later: Promise<void> | undefined;
    let committed: () => void = () => undefined;
    const commit = new Promise<void>((resolve) => (committed = resolve));
    await transaction(db.handle, async () => {
      later = commit.then(callPayment);
    });
    committed();
    await later;
    await callPayment();
    expect(reports).toEqual([]);
  });

  test('after the watch was stopped; everything is as it was', async () => {
    const { fetch } = globalThis;
    const target = new Channel();
    const watch = watching();
    watch.watch(target);
    expect(Object.hasOwn(target, 'publish')).toBe(true);
    expect(globalThis.fetch).not.toBe(fetch);
    expect(tracking.tracker).toBeDefined();
    watch.stop();
    expect(globalThis.fetch).toBe(fetch);
    expect(Object.keys(target)).toEqual(['published']);
    expect(Object.hasOwn(target, 'publish')).toBe(false);
    expect(tracking.tracker).toBeUndefined();
    await transaction(db.handle, callPayment);
    expect(reports).toEqual([]);
  });
});

function host(): string {
  // The channel knows the name without the port.
  return new URL(url).origin.replace(/:\d+$/, '');
}
