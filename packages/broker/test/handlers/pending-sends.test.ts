import { describe, expect, it } from 'vitest';
import { KEY_BYTES, LONG_KEY, PendingSends } from '../../src/handlers/pending-sends.ts';
import { Stage } from '../broker-stage.ts';

describe('rows of waiting sends', () => {
  it('keep what they hold when there become more of them', () => {
    const pending = new PendingSends();
    const rows = Array.from({ length: 5000 }, (_, n) => {
      const row = pending.take();
      const key = Buffer.from(`K${n}`);
      pending.opaques[row] = n;
      pending.setKey(row, key, 0, key.length);
      return row;
    });
    expect(new Set(rows).size).toBe(5000);
    for (const [n, row] of rows.entries()) {
      expect(pending.opaques[row]).toBe(n);
      expect(pending.keys.toString('latin1', row * KEY_BYTES, row * KEY_BYTES + pending.keyLengths[row]!)).toBe(`K${n}`);
    }
    for (const row of rows) pending.release(row);
    expect(pending.peers.every((peer) => peer === undefined)).toBe(true);
    expect(new Set(Array.from({ length: 5000 }, () => pending.take())).size).toBe(5000);
  });

  it('keep long keys elsewhere and forget them', () => {
    const pending = new PendingSends();
    const row = pending.take();
    const key = Buffer.from('k'.repeat(300));
    pending.setKey(row, key, 0, key.length);
    expect([pending.keyLengths[row], pending.longKeys.get(row)?.length]).toEqual([LONG_KEY, 300]);
    pending.release(row);
    expect(pending.longKeys.size).toBe(0);
  });
});

describe('thousands of sends at once', () => {
  it('are each answered with their own key, long ones too', () => {
    const stage = new Stage({ segmentBytes: 2 * 1024 * 1024 }).start();
    const client = stage.client();
    const keyOf = (n: number): string => (n % 100 === 0 ? `long-${n}-`.padEnd(80, 'x') : `K${n}`);
    const waiting = Array.from({ length: 3000 }, (_, n) =>
      client.begin(
        'SEND_MESSAGE_V2',
        client.sendHeader('orders', { queueId: n % 4, props: { UNIQ_KEY: keyOf(n) } }),
        Buffer.from(`m${n}`),
      ),
    );
    stage.until(() => waiting.every(({ answer }) => answer !== undefined));
    expect(waiting.map(({ answer }) => answer!.fields.get('transactionId'))).toEqual(waiting.map((_, n) => keyOf(n)));
    expect(new Set(waiting.map(({ answer }) => answer!.fields.get('msgId'))).size).toBe(3000);
    expect([0, 1, 2, 3].map((queue) => client.bodies('orders', queue).length)).toEqual([750, 750, 750, 750]);
  });
});
