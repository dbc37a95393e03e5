import { describe, expect, it } from 'vitest';
import { ConsumerGroups, type ConsumerGroup } from '../../src/groups/consumer-groups.ts';
import { ProducerGroups } from '../../src/groups/producer-groups.ts';
import { QueueLocks } from '../../src/groups/queue-locks.ts';
import { subscription } from '../../src/groups/subscription.ts';

const channel = (peer: string, lastSeenMs = 0) => ({
  peer,
  clientId: `client-${peer}`,
  language: 'JAVA',
  version: 479,
  lastSeenMs,
});
const hello = (group: string, topics: Record<string, string>, version = 1) => ({
  group,
  consumeType: 'CONSUME_PASSIVELY',
  messageModel: 'CLUSTERING',
  consumeFromWhere: 'CONSUME_FROM_LAST_OFFSET',
  subscriptions: Object.entries(topics).map(([topic, expression]) => subscription(topic, expression, 'TAG', version)),
});

function consumers(max = 10) {
  const changes: string[] = [];
  const groups = new ConsumerGroups<string>(max, (group: ConsumerGroup<string>) =>
    changes.push(`${group.group}:${group.channels.size}`),
  );
  return { groups, changes };
}

describe('consumer groups', () => {
  it('tell of every member that comes or goes, and not of repeated heartbeats', () => {
    const { groups, changes } = consumers();
    groups.register(hello('g', { t: '*' }), channel('a'));
    groups.register(hello('g', { t: '*' }), channel('a'));
    groups.register(hello('g', { t: '*' }), channel('b'));
    groups.unregister('g', 'a');
    groups.leave('b');
    expect(changes).toEqual(['g:1', 'g:2', 'g:1', 'g:0']);
    expect(groups.members('g')).toEqual([]);
  });

  it('tell when a topic joins or leaves the subscriptions, not when only its expression is newer', () => {
    const { groups, changes } = consumers();
    groups.register(hello('g', { t: '*' }), channel('a'));
    groups.register(hello('g', { t: 'x' }, 2), channel('a'));
    expect(changes).toHaveLength(1);
    expect(groups.subscription('g', 't')?.expression).toBe('x');
    groups.register(hello('g', { t: 'x', u: '*' }, 2), channel('a'));
    groups.register(hello('g', { u: '*' }, 2), channel('a'));
    expect(changes).toHaveLength(3);
    expect(groups.subscription('g', 't')).toBeUndefined();
  });

  it('keep the newer of two versions of a subscription', () => {
    const { groups } = consumers();
    groups.register(hello('g', { t: 'new' }, 5), channel('a'));
    groups.register(hello('g', { t: 'old' }, 4), channel('b'));
    expect(groups.subscription('g', 't')?.expression).toBe('new');
  });

  it('drop members that have been silent', () => {
    const { groups } = consumers();
    groups.register(hello('g', { t: '*' }), channel('a', 100));
    groups.register(hello('g', { t: '*' }), channel('b', 200));
    groups.expire(150);
    expect(groups.members('g')).toEqual(['client-b']);
  });

  it('list members sorted, a client with two connections once', () => {
    const { groups } = consumers();
    for (const peer of ['z', 'a']) groups.register(hello('g', { t: '*' }), channel(peer));
    groups.register(hello('g', { t: '*' }), { ...channel('q'), clientId: 'client-a' });
    expect(groups.members('g')).toEqual(['client-a', 'client-z']);
  });

  it('refuse more groups than allowed', () => {
    const { groups } = consumers(1);
    expect(groups.register(hello('g', {}), channel('a'))).toBe(true);
    expect(groups.register(hello('h', {}), channel('a'))).toBe(false);
  });
});

describe('subscriptions', () => {
  it.each([
    ['*', 'TagA', true],
    ['', 'TagA', true],
    ['TagA', 'TagA', true],
    ['TagA', 'TagB', false],
    [' TagA || TagB ', 'TagB', true],
    ['TagA||', 'TagC', false],
  ])('"%s" wants %s: %s', (expression, tag, wanted) => {
    const { matches } = subscription('t', expression);
    expect(matches?.(subscription('t', tag).codes[0]!) ?? true).toBe(wanted);
  });
});

describe('producer groups', () => {
  it('are asked in turn, past connections that take no output', () => {
    const groups = new ProducerGroups<string>(10);
    for (const peer of ['a', 'b', 'c']) groups.register('g', channel(peer));
    const picks = [1, 2, 3].map(() => groups.pick('g', () => true));
    expect(new Set(picks).size).toBe(3);
    expect(groups.pick('g', (peer) => peer === 'b')).toBe('b');
    expect(groups.pick('g', () => false)).toBeUndefined();
    expect(groups.pick('none', () => true)).toBeUndefined();
  });

  it('lose a connection that closes, unregisters or is silent', () => {
    const groups = new ProducerGroups<string>(10);
    groups.register('g', channel('a', 10));
    groups.register('g', channel('b', 20));
    groups.register('h', channel('b', 20));
    groups.expire(15);
    expect(groups.channels('g').map(({ peer }) => peer)).toEqual(['b']);
    groups.leave('b');
    expect(groups.names()).toEqual([]);
  });
});

describe('queue locks', () => {
  /** time ms | who | act | queue | granted */
  const story = `
    0      a lock   0 yes
    1      b lock   0 no
    1      b lock   1 yes
    59000  a lock   0 yes
    100000 b lock   0 no
    119000 b lock   0 yes
    119001 a lock   0 no
    119002 a unlock 0 -
    119003 a lock   0 no
    119004 b unlock 0 -
    119005 a lock   0 yes
  `;

  it('are leases of one client at a time, renewed by it and freed by it or by time', () => {
    const locks = new QueueLocks(60_000);
    for (const line of story.trim().split('\n')) {
      const [ms, who, act, queue, granted] = line.trim().split(/\s+/);
      if (act === 'unlock') locks.unlock('g', 't', Number(queue), who!);
      else expect([line, locks.lock('g', 't', Number(queue), who!, Number(ms))]).toEqual([line, granted === 'yes']);
    }
  });

  it('know whether a group holds any', () => {
    const locks = new QueueLocks(1000);
    locks.lock('g', 't', 0, 'a', 0);
    expect([locks.holdsAny('g', 999), locks.holdsAny('g', 1000), locks.holdsAny('h', 0)]).toEqual([true, false, false]);
    locks.expire(1000);
    expect(locks.holdsAny('g', 0)).toBe(false);
  });
});
