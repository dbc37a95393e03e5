import type { BrokerData, QueueData } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { topicRoute } from '../../src/route/topic-route.ts';

function broker(brokerName: string, addresses: Record<string, string>): BrokerData {
  return { cluster: 'C', brokerName, brokerAddrs: new Map(Object.entries(addresses)) };
}

function queues(brokerName: string, readQueueNums: number, writeQueueNums: number, perm = 6): QueueData {
  return { brokerName, readQueueNums, writeQueueNums, perm, topicSysFlag: 0 };
}

function names(keys: readonly { readonly brokerName: string; readonly queueId: number }[]): string {
  return keys.map(({ brokerName, queueId }) => `${brokerName}${queueId}`).join(' ');
}

describe('a route over several brokers', () => {
  it('lists the queues of all, sorted by broker and number, whatever order they are told in', () => {
    const route = topicRoute('t', {
      brokerDatas: [broker('b', { '0': 'B:1' }), broker('a', { '0': 'A:1' })],
      queueDatas: [queues('b', 2, 3), queues('a', 2, 1)],
    });
    expect(names(route.writeQueues)).toBe('a0 b0 b1 b2');
    expect(names(route.readQueues)).toBe('a0 a1 b0 b1');
    expect(Object.fromEntries(route.addresses)).toEqual({ a: 'A:1', b: 'B:1' });
  });

  it('writes only where a master is, and reads what may be read', () => {
    const route = topicRoute('t', {
      brokerDatas: [broker('a', { '0': 'A:1' }), broker('b', { '1': 'B:2' }), broker('c', { '0': 'C:1' })],
      queueDatas: [queues('a', 1, 1), queues('b', 1, 1), queues('c', 1, 1, 4)],
    });
    expect(names(route.writeQueues)).toBe('a0');
    expect(names(route.readQueues)).toBe('a0 b0 c0');
    expect([...route.addresses.keys()]).toEqual(['a', 'c']);
  });

  it('borrowed from the default topic has at most as many queues per broker as will be asked for', () => {
    const data = {
      brokerDatas: [broker('a', { '0': 'A:1' }), broker('b', { '0': 'B:1' })],
      queueDatas: [queues('a', 8, 8), queues('b', 2, 2)],
    };
    expect(names(topicRoute('t', data, 4).writeQueues)).toBe('a0 a1 a2 a3 b0 b1');
    expect(topicRoute('t', data, 4).isStandIn).toBe(true);
    expect(topicRoute('t', data).isStandIn).toBe(false);
  });

  it('is not believed when it claims a million queues', () => {
    const data = { brokerDatas: [broker('a', { '0': 'A:1' })], queueDatas: [queues('a', 1e6, 1e6)] };
    expect(topicRoute('t', data).writeQueues).toHaveLength(65_536);
  });
});
