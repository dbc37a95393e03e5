import type { Peer } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { RegisteredBrokers, type Registration } from '../../src/registration/registered-brokers.ts';
import { topicConfig } from '../../src/topics/topic.ts';

const LIMITS = { registeredBrokersMax: 10, brokerExpiryMs: 120_000 };
const VERSION = { stateVersion: 0, timestamp: 1, counter: 1 };

function peer(): Peer {
  return {} as Peer;
}

function registration(more: Partial<Registration> = {}): Registration {
  return { brokerName: 'b', clusterName: 'C', brokerId: 0, address: '10.0.0.2:1', timeoutMs: undefined, peer: peer(), ...more };
}

function body(...names: string[]) {
  return { version: VERSION, topics: new Map(names.map((name) => [name, topicConfig(name, 4)])) };
}

function addresses(brokers: RegisteredBrokers): Record<string, string>[] {
  return brokers.all().map(({ brokerAddrs }) => Object.fromEntries(brokerAddrs));
}

describe('registered brokers', () => {
  it('are dropped after two minutes of silence', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    brokers.register(registration(), body('t'), 0);
    brokers.register(registration(), body('t'), 30_000);
    brokers.expire(149_999);
    expect(brokers.withTopic('t')).toHaveLength(1);
    brokers.expire(150_000);
    expect([brokers.withTopic('t'), brokers.all(), [...brokers.topicNames()]]).toEqual([[], [], []]);
  });

  it('are dropped sooner when they say so themselves', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    brokers.register(registration({ timeoutMs: 10_000 }), body('t'), 0);
    brokers.expire(10_000);
    expect(brokers.all()).toEqual([]);
  });

  it('live on by asking whether their version is known', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    brokers.register(registration(), body('t'), 0);
    expect(brokers.versionOf('b', 0, '10.0.0.2:1', 100_000)).toEqual(VERSION);
    expect(brokers.versionOf('b', 0, '10.0.0.3:1', 100_000)).toBeUndefined();
    brokers.expire(200_000);
    expect(brokers.all()).toHaveLength(1);
  });

  it('end with the connection of their last registration, not with an earlier one', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    const [old, young] = [peer(), peer()];
    brokers.register(registration({ peer: old }), body('t'), 0);
    brokers.register(registration({ peer: young }), body('t'), 1);
    brokers.leave(old);
    expect(brokers.all()).toHaveLength(1);
    brokers.leave(young);
    expect(brokers.all()).toEqual([]);
  });

  it('consist of a master, whose topics count, and slaves', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    brokers.register(registration({ brokerId: 1, address: '10.0.0.3:1' }), body('slave'), 0);
    brokers.register(registration(), body('t'), 0);
    expect(addresses(brokers)).toEqual([{ '0': '10.0.0.2:1', '1': '10.0.0.3:1' }]);
    expect([...brokers.topicNames()]).toEqual(['t']);
    expect(brokers.masterOf('b')).toBe('10.0.0.2:1');
    brokers.unregister('b', 0, 'elsewhere');
    brokers.unregister('b', 0, '10.0.0.2:1');
    expect(addresses(brokers)).toEqual([{ '1': '10.0.0.3:1' }]);
  });

  it('have names of their own', () => {
    const brokers = new RegisteredBrokers(LIMITS, 'own');
    expect(brokers.register(registration({ brokerName: 'own' }), body(), 0)).toContain('start the other with another brokerName');
    expect(brokers.register(registration(), body('t'), 0)).toBeUndefined();
    expect(brokers.register(registration({ address: '10.0.0.9:1' }), body(), 0)).toContain('already registered by 10.0.0.2:1');
    expect(addresses(brokers)).toEqual([{ '0': '10.0.0.2:1' }]);
  });
});
