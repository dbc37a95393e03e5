import { RequestCode, wireFields } from '@tallystick/remoting';
import { describe, expect, it, vi } from 'vitest';
import { PAGE_HALVES } from '../../src/transaction/half-page.ts';
import { TransactionEnds } from '../../src/transaction/transaction-ends.ts';
import { halfOf, Stage, type Half, type TestClient } from '../broker-stage.ts';

function tell(client: TestClient, half: Half, verdict: 'commit' | 'rollback'): void {
  client.peer.oneway(RequestCode.END_TRANSACTION, wireFields('END_TRANSACTION', client.end(half, verdict)));
}

function thousandsOfHalves(client: TestClient, thousands: number): Half[] {
  const halves: Half[] = [];
  for (let n = 0; n < 1000 * thousands;) {
    const sent = Array.from({ length: 1000 }, () => client.beginHalf('orders', 'x', `K${n++}`));
    client.stage.until(() => sent.every(({ answer }) => answer !== undefined));
    halves.push(...sent.map(({ answer }, at) => halfOf(answer!, `K${n - 1000 + at}`)));
  }
  return halves;
}

describe('the lane of confirmations', () => {
  it('stops reading a connection that has too many unfinished, drops none of them and reads on', () => {
    const stage = new Stage({ endsInFlightMax: 3 }).start();
    const client = stage.client();
    const halves = Array.from({ length: 20 }, (_, n) => client.half('orders', `m${n}`, `K${n}`));
    stage.syncDelayMs = 50;
    for (const half of halves) tell(client, half, 'commit');
    const after = client.begin('SEND_MESSAGE_V2', client.sendHeader('orders', { queueId: 1 }), Buffer.from('behind'));
    stage.run(30);
    expect(stage.core.counters.commits).toBe(0);
    expect(after.answer).toBeUndefined();
    stage.until(() => after.answer !== undefined);
    stage.syncDelayMs = 0;
    stage.run(500);
    expect(client.bodies('orders')).toEqual(halves.map((_, n) => `m${n}`));
    expect(stage.core.counters.commits).toBe(20);
  });

  it('does not stop other connections', () => {
    const stage = new Stage({ endsInFlightMax: 1, syncFlushTimeoutMs: 60_000 }).start();
    const [busy, other] = [stage.client(), stage.client()];
    const halves = [0, 1, 2].map((n) => busy.half('orders', `m${n}`, `K${n}`));
    stage.syncDelayMs = 1000;
    for (const half of halves) tell(busy, half, 'commit');
    expect(other.call('GET_ROUTEINFO_BY_TOPIC', { topic: 'orders' }).code).toBe(0);
    expect(stage.core.counters.commits).toBe(0);
  });

  it('answers a verdict whose sync is late as uncertain, and the same verdict later as done', () => {
    const stage = new Stage({ syncFlushTimeoutMs: 100 }).start();
    const client = stage.client();
    const half = client.half('orders', 'x', 'K1');
    stage.syncDelayMs = 400;
    const late = client.call('END_TRANSACTION', client.end(half, 'commit'));
    expect(late).toMatchObject({ code: 1, remark: 'the decision may not be durable: timeout' });
    // Nor does anybody hear as a fact that it was decided otherwise: a power cut may still undo that.
    const opposite = client.call('END_TRANSACTION', client.end(half, 'rollback'));
    expect(opposite).toMatchObject({ code: 1, remark: 'the decision may not be durable: timeout' });
    stage.syncDelayMs = 0;
    stage.run(1000);
    expect(client.call('END_TRANSACTION', client.end(half, 'rollback'))).toMatchObject({
      code: 1,
      remark: 'The transaction has already been decided otherwise: committed',
    });
    expect(client.call('END_TRANSACTION', client.end(half, 'commit')).code).toBe(0);
    expect(client.bodies('orders')).toEqual(['x']);
    expect(stage.powerCut().client().bodies('orders')).toEqual(['x']);
  });

  it('lets a repeated verdict wait for the sync of the first', () => {
    const stage = new Stage().start();
    const client = stage.client();
    const half = client.half('orders', 'x', 'K1');
    stage.syncDelayMs = 200;
    tell(client, half, 'commit');
    const repeated = client.begin('END_TRANSACTION', client.end(half, 'commit'));
    stage.run(150);
    expect(repeated.answer).toBeUndefined();
    stage.until(() => repeated.answer !== undefined);
    expect(repeated.answer!.code).toBe(0);
    expect(stage.core.counters.endsRepeated).toBe(1);
  });

  it('does not let the repeat of an old verdict wait for the sync of a new one', () => {
    const stage = new Stage({ syncFlushTimeoutMs: 60_000, halvesPerGroupMax: 5000, segmentBytes: 16 << 20 }).start();
    const client = stage.client();
    const halves = thousandsOfHalves(client, 5);
    const [old, young] = [halves[0]!, halves[PAGE_HALVES]!];
    expect([old.offset, young.offset]).toEqual([0, PAGE_HALVES]);
    expect(client.call('END_TRANSACTION', client.end(old, 'commit')).code).toBe(0);
    stage.syncDelayMs = 1000;
    const first = client.begin('END_TRANSACTION', client.end(young, 'commit'));
    const repeats = (['commit', 'rollback'] as const).map((verdict) => client.begin('END_TRANSACTION', client.end(old, verdict)));
    const again = client.begin('END_TRANSACTION', client.end(young, 'commit'));
    stage.until(() => repeats.every(({ answer }) => answer !== undefined));
    expect(repeats.map(({ answer }) => answer!.code)).toEqual([0, 1]);
    expect(repeats[1]!.answer!.remark).toContain('decided otherwise: committed');
    expect([first.answer, again.answer]).toEqual([undefined, undefined]);
    stage.until(() => again.answer !== undefined);
    expect([first.answer?.code, again.answer?.code]).toEqual([0, 0]);
  });

  it('writes nothing for a repeat whose verdict is still uncertain, and says so', () => {
    const stage = new Stage({ syncFlushTimeoutMs: 100 }).start();
    const client = stage.client();
    const half = client.half('orders', 'x', 'K1');
    stage.syncDelayMs = 1000;
    client.call('END_TRANSACTION', client.end(half, 'rollback'));
    const before = stage.core.store.info().appendedEnd;
    const again = client.call('END_TRANSACTION', client.end(half, 'rollback'));
    expect(again).toMatchObject({ code: 1, remark: 'the decision may not be durable: timeout' });
    expect(stage.core.store.info().appendedEnd).toBe(before);
    stage.run(3000);
    expect(client.call('END_TRANSACTION', client.end(half, 'rollback')).code).toBe(0);
  });

  it('commits halves that have left the memory', () => {
    const stage = new Stage({ segmentBytes: 64 * 1024, tailBytes: 8 * 1024, blockBytes: 4096, groupBytes: 4096 }).start();
    const client = stage.client();
    const halves = Array.from({ length: 10 }, (_, n) => client.half('orders', `m${n}`, `K${n}`));
    for (let n = 0; n < 100; n++) client.send('bulk', 'x'.repeat(2000));
    for (const half of halves) tell(client, half, half.offset % 2 === 0 ? 'commit' : 'rollback');
    for (const half of halves) tell(client, half, 'commit');
    stage.run(1000);
    expect(client.bodies('orders').sort()).toEqual(['m0', 'm2', 'm4', 'm6', 'm8']);
    expect(stage.core.counters).toMatchObject({ commits: 5, rollbacks: 5, endsRepeated: 5, endsRefused: 5 });
    expect(stage.core.store.info().diskReads).toBeGreaterThan(0);
  });

  it('carries out more than may read from the disk at once, after a restart and with other reads in the line before them', () => {
    const thousands = 12;
    const count = 1000 * thousands;
    const stage = new Stage({
      checkAfterMs: 600_000,
      checkIntervalMs: 600_000,
      halvesPerGroupMax: count,
      segmentBytes: 16 << 20,
    });
    let client = stage.start().client();
    const halves = thousandsOfHalves(client, thousands);
    client = stage.restart().client();
    const reader = stage.client();
    const others = Array.from({ length: 64 }, (_, n) => reader.begin('VIEW_MESSAGE_BY_ID', { offset: halves[n]!.position }));
    for (const half of halves) tell(client, half, 'commit');
    stage.until(() => stage.core.counters.commits + stage.core.counters.endsRefused >= count);
    expect(stage.core.counters).toMatchObject({ commits: count, endsRefused: 0 });
    stage.until(() => others.every(({ answer }) => answer !== undefined));
    expect(stage.core.halves(1)).toEqual([]);
  });

  it('keeps those that wait in their lane when too many are unfinished', () => {
    const stage = new Stage({ endsInFlightMax: 5, syncFlushTimeoutMs: 60_000, controlShareBytes: 1024 }).start();
    const client = stage.client();
    const halves = Array.from({ length: 40 }, (_, n) => client.half('orders', `m${n}`, `K${n}`));
    const others = halves.map(() => stage.client());
    stage.syncDelayMs = 1000;
    halves.forEach((half, n) => tell(others[n]!, half, 'commit'));
    stage.run(100);
    const lane = stage.core.lanes().find(({ name }) => name === 'endTransaction')!;
    expect(lane.waiting).toBeGreaterThan(25);
    stage.syncDelayMs = 0;
    stage.until(() => stage.core.counters.commits === 40);
    expect(stage.core.halves()).toEqual([]);
  });

  it('tries again while the store is busy', () => {
    const stage = new Stage({
      segmentBytes: 64 * 1024,
      groupBytes: 4096,
      pendingBytesMax: 4096,
      tailBytes: 8 * 1024,
      blockBytes: 4096,
    }).start();
    const client = stage.client();
    const halves = Array.from({ length: 30 }, (_, n) => client.half('orders', 'y'.repeat(500), `K${n}`));
    stage.syncDelayMs = 20;
    for (const half of halves) tell(client, half, 'commit');
    stage.run(3000);
    expect(client.bodies('orders')).toHaveLength(30);
    expect(stage.core.halves()).toEqual([]);
  });

  it('tries again, too, those whose half is in memory and that the busy store refused at the first attempt', () => {
    const settle = vi.spyOn(TransactionEnds.prototype, 'settle');
    const stage = new Stage({ segmentBytes: 64 * 1024, groupBytes: 4096, pendingBytesMax: 4096 }).start();
    const client = stage.client();
    const halves = Array.from({ length: 60 }, (_, n) => client.half('orders', `m${n}:`.padEnd(500, 'y'), `K${n}`));
    stage.syncDelayMs = 20;
    halves.forEach((half, n) => tell(client, half, n % 2 === 0 ? 'commit' : 'rollback'));
    stage.until(() => stage.core.halves().length === 0);
    stage.run(3000);
    const { calls, results, contexts } = settle.mock;
    settle.mockRestore();
    for (const outcome of ['committed', 'rolled-back'] as const) {
      const taken = results.filter((_, n) => calls[n]![0] === outcome).map(({ value }) => value as boolean);
      expect(taken).toHaveLength(30);
      expect(new Set(taken)).toEqual(new Set([true, false]));
    }
    expect((contexts[0] as TransactionEnds).unfinished).toBe(0);
    expect(stage.core.counters).toMatchObject({ commits: 30, rollbacks: 30, endsRepeated: 0, endsRefused: 0 });
    const names = client.bodies('orders').map((body) => body.split(':')[0]!);
    expect(names.sort()).toEqual(Array.from({ length: 30 }, (_, n) => `m${2 * n}`).sort());
  });
});
