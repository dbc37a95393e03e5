import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { jsonLines, run, start, type Running } from '../processes.ts';

let data: string;
let running: Running[];

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'commands-'));
  running = [];
});
afterEach(async () => {
  for (const { child, ended } of running) {
    child.kill('SIGKILL');
    await ended;
  }
  rmSync(data, { recursive: true, force: true });
});

async function startBroker(...more: string[]): Promise<{ broker: Running; address: string }> {
  const broker = start(['broker', '--port', '0', '--data', data, ...more]);
  running.push(broker);
  const [, address] = await broker.seen(/^ready on (\S+)$/m);
  return { broker, address: address! };
}

describe('broker, send and consume as real processes', () => {
  it('carry messages from one command to another, over a kill of the broker', { timeout: 60_000 }, async () => {
    const { broker, address } = await startBroker();
    const sent = await run([
      'send',
      'orders',
      'hello',
      '--count',
      '3',
      '--key',
      'k',
      '--tag',
      'T',
      '--header',
      'colour=red',
      '--broker',
      address,
      '--json',
    ]);
    expect(sent).toMatchObject({ code: 0 });
    expect(jsonLines(sent.out)).toHaveLength(3);
    broker.child.kill('SIGKILL');
    await broker.ended;

    writeFileSync(join(data, 'log', 'notes.txt'), 'of somebody else');
    const again = await startBroker();
    await again.broker.seen(/^ {2}found {2}not closed in order; [1-9]\d* of \d+ bytes of log were checked$/m);
    await again.broker.seen(/^ {2}note {3}log\/notes\.txt is not ours and was ignored$/m);
    const got = await run([
      'consume',
      'orders',
      '--from',
      'first',
      '--max',
      '3',
      '--timeout',
      '20000',
      '--broker',
      again.address,
      '--json',
    ]);
    expect(got).toMatchObject({ code: 0 });
    const messages = jsonLines(got.out);
    expect(messages).toHaveLength(3);
    expect(messages[0]).toMatchObject({
      topic: 'orders',
      value: 'hello',
      key: 'k',
      tag: 'T',
      headers: { colour: 'red' },
      reconsumeTimes: 0,
    });
    expect(new Set(messages.map(({ id }) => id))).toEqual(new Set(jsonLines(sent.out).map(({ messageId }) => messageId)));
  });

  it('say where the data is, whether it survives, and what a crash can cost', { timeout: 60_000 }, async () => {
    const { broker } = await startBroker('--flush', 'async');
    broker.child.kill('SIGTERM');
    const { code, out } = await broker.ended;
    expect(code).toBe(0);
    expect(out).toContain(`${data}, survives a restart`);
    expect(out).toContain('a power cut can cost the last 200 ms');
    const temporary = start(['broker', '--port', '0']);
    running.push(temporary);
    await temporary.seen(/^ready on/m);
    temporary.child.kill('SIGINT');
    const ended = await temporary.ended;
    expect(ended.code).toBe(0);
    expect(ended.out).toContain('TEMPORARY');
  });

  it('refuse a second owner of a store with a clear sentence', { timeout: 60_000 }, async () => {
    await startBroker();
    const second = await run(['broker', '--port', '0', '--data', data]);
    expect(second.code).not.toBe(0);
    expect(second.err).toContain(data);
    expect(second.err).not.toContain('    at ');
  });

  it('refuse an address that others can reach unless told so', { timeout: 60_000 }, async () => {
    const refused = await run(['broker', '--port', '0', '--host', '0.0.0.0', '--data', data]);
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain('--insecure');
    const { broker } = await startBroker('--host', '0.0.0.0', '--insecure');
    broker.child.kill('SIGTERM');
    expect((await broker.ended).out).toContain('INSECURE');
  });

  it('grow to two brokers behind one name server, and refuse two of one name', { timeout: 60_000 }, async () => {
    const { address } = await startBroker();
    const clash = await run(['broker', '--port', '0', '--name-server', address]);
    expect(clash).toMatchObject({ code: 1, err: expect.stringContaining('knows a broker broker-a at') });
    expect(clash.err).toContain('--broker-name of its own');
    const folder = mkdtempSync(join(tmpdir(), 'commands-second-'));
    const other = start(['broker', '--port', '0', '--data', folder, '--broker-name', 'broker-b', '--name-server', address]);
    running.push(other);
    await other.seen(/^ready on/m);
    expect(await run(['topic', 'create', 'bills', '--queues', '2', '--broker', address])).toMatchObject({ code: 0 });
    other.child.kill('SIGTERM');
    expect((await other.ended).code).toBe(0);
    expect(readFileSync(join(folder, 'config/topics.json'), 'utf8')).toContain('"bills"');
    expect(await run(['send', 'bills', 'x', '--count', '20', '--broker', address])).toMatchObject({ code: 0 });
    rmSync(folder, { recursive: true, force: true });
  });

  it('make and list topics, and list half messages', { timeout: 60_000 }, async () => {
    const { address } = await startBroker();
    expect(await run(['topic', 'create', 'bills', '--queues', '3', '--broker', address])).toMatchObject({ code: 0 });
    const listed = await run(['topic', 'list', '--broker', address, '--json']);
    expect(jsonLines(listed.out)).toEqual([{ topic: 'bills' }]);
    expect((await run(['topic', 'list', '--all', '--broker', address])).out.split('\n')).toContain('SCHEDULE_TOPIC_XXXX');
    const halves = await run(['halves', '--broker', address]);
    expect(halves).toMatchObject({ code: 0, out: 'no half message is without a verdict\n' });
  });

  it('send one message per line of standard input', { timeout: 60_000 }, async () => {
    const { address } = await startBroker();
    expect(await run(['send', 'lines', '--broker', address], 'one\ntwo\n\nthree\n')).toMatchObject({
      code: 0,
      out: '3 sent to lines\n',
    });
    const got = await run(['consume', 'lines', '--from', 'first', '--max', '3', '--timeout', '20000', '--broker', address]);
    expect(got.out.trimEnd().split('\n').sort()).toEqual(['one', 'three', 'two']);
    expect(await run(['send', 'lines', '--broker', address], '')).toMatchObject({ code: 2 });
  });

  it('end a consumer cleanly with Ctrl-C, and leave what was not printed to the next one', { timeout: 60_000 }, async () => {
    const { address } = await startBroker();
    await run(['send', 'news', 'x', '--count', '5', '--broker', address]);
    const first = start(['consume', 'news', '--from', 'first', '--max', '2', '--broker', address]);
    running.push(first);
    expect(await first.ended).toMatchObject({ code: 0, out: 'x\nx\n' });
    const second = start(['consume', 'news', '--broker', address]);
    running.push(second);
    await second.seen(/x\nx\nx\n/);
    second.child.kill('SIGINT');
    expect(await second.ended).toMatchObject({ code: 0, out: 'x\nx\nx\n' });
  });

  it('say clearly when no broker is there', { timeout: 60_000 }, async () => {
    const { code, err } = await run(['topic', 'list', '--broker', '127.0.0.1:1']);
    expect(code).toBe(69);
    expect(err).toContain('127.0.0.1:1');
    expect(err).not.toContain('    at ');
  });
});
