import { decodeProperties } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { Stage } from '../broker-stage.ts';

const LEVELS = [100, 200, 400, 800];

describe('a delayed message', () => {
  it('is delivered when its level has passed, not before', () => {
    const stage = new Stage({ delayLevelsMs: LEVELS }).start();
    const client = stage.client();
    const sentMs = stage.world.timeMs;
    const answer = client.send('orders', 'later', { queueId: 2, props: { DELAY: '3', TAGS: 'A', UNIQ_KEY: 'K' } });
    expect(Object.fromEntries(answer.fields)).toMatchObject({ queueId: '2', queueOffset: '0' });
    stage.run(390 - (stage.world.timeMs - sentMs));
    expect(client.bodies('orders', 2)).toEqual([]);
    stage.run(60);
    const [message] = client.read('orders', 2);
    expect(message).toMatchObject({ topic: 'orders', queueId: 2, queueOffset: 0, bornTimestamp: 1_700_000_000_000 });
    expect(decodeProperties(message!.properties).get('TAGS')).toBe('A');
    expect(stage.core.counters.delayedFired).toBe(1);
  });

  it('is found by its tag', () => {
    const stage = new Stage({ delayLevelsMs: [10] }).start();
    const client = stage.client();
    client.send('orders', 'a', { props: { DELAY: '1', TAGS: 'A' } });
    client.send('orders', 'b', { props: { DELAY: '1', TAGS: 'B' } });
    stage.run(100);
    expect(client.pull('orders', 0, { subscription: 'B' }).body.includes('b')).toBe(true);
    expect(client.pull('orders', 0, { subscription: 'B' }).fields.get('nextBeginOffset')).toBe('2');
  });

  it('of a level beyond the last waits the longest', () => {
    const stage = new Stage({ delayLevelsMs: [50, 300] }).start();
    const client = stage.client();
    client.send('orders', 'x', { props: { DELAY: '99' } });
    stage.run(200);
    expect(client.bodies('orders')).toEqual([]);
    stage.run(200);
    expect(client.bodies('orders')).toEqual(['x']);
  });

  it('keeps the order within its level and lets shorter levels pass', () => {
    const stage = new Stage({ delayLevelsMs: [50, 300] }).start();
    const client = stage.client();
    for (const [body, level] of [
      ['slow1', 2],
      ['quick1', 1],
      ['slow2', 2],
      ['quick2', 1],
      ['now', 0],
    ] as const) {
      client.send('orders', body, { props: { DELAY: String(level) } });
    }
    stage.run(1000);
    expect(client.bodies('orders')).toEqual(['now', 'quick1', 'quick2', 'slow1', 'slow2']);
  });

  it.each(['restart', 'powerCut'] as const)('is delivered once over a %s before its time', (how) => {
    const stage = new Stage({ delayLevelsMs: [500] }).start();
    stage.client().send('orders', 'x', { props: { DELAY: '1' } });
    stage[how]();
    stage.run(1000);
    expect(stage.client().bodies('orders')).toEqual(['x']);
  });

  it.each(['restart', 'powerCut'] as const)('is not delivered again over a %s after it', (how) => {
    const stage = new Stage({ delayLevelsMs: [50] }).start();
    const client = stage.client();
    for (let n = 0; n < 5; n++) client.send('orders', `m${n}`, { props: { DELAY: '1' } });
    stage.run(500);
    stage[how]();
    stage.run(500);
    expect(stage.client().bodies('orders')).toEqual(['m0', 'm1', 'm2', 'm3', 'm4']);
  });

  it('comes in bounded batches when thousands fall due together, all of them once', () => {
    const stage = new Stage({ delayLevelsMs: [300], delayBatchMax: 16 }).start();
    const client = stage.client();
    const header = client.sendHeader('orders', { props: { DELAY: '1' } });
    for (let n = 0; n < 500; n++) client.begin('SEND_MESSAGE_V2', header, Buffer.from(`m${n}`));
    stage.run(3000);
    expect(client.bodies('orders')).toEqual(Array.from({ length: 500 }, (_, n) => `m${n}`));
  });

  it("waits for the broker's wall clock when that is set back, and is delivered all the same", () => {
    const stage = new Stage({ delayLevelsMs: [100] }).start();
    const client = stage.client();
    client.send('orders', 'x', { props: { DELAY: '1' } });
    stage.world.jumpWallClock(-500);
    stage.run(400);
    expect(client.bodies('orders')).toEqual([]);
    stage.run(1500);
    expect(client.bodies('orders')).toEqual(['x']);
  });

  it('is delivered while nobody sends anything else', () => {
    const stage = new Stage({ delayLevelsMs: [5000] }).start();
    const client = stage.client();
    client.send('orders', 'x', { props: { DELAY: '1' } });
    const waiting = client.begin('PULL_MESSAGE', client.pullHeader('orders', 0, { sysFlag: 6 }));
    stage.run(6000);
    expect(waiting.answer?.code).toBe(0);
  });
});

describe('a message that is given back', () => {
  const positionOf = (client: ReturnType<Stage['client']>, topic: string): number => client.read(topic).at(-1)!.physicalOffset;

  it('comes again in the retry topic of its group after the third level, the next time after the fourth, then lies among the dead letters', () => {
    const stage = new Stage({ delayLevelsMs: LEVELS }).start();
    const client = stage.client();
    client.heartbeat({ consumers: ['readers'], topic: 'orders' });
    client.send('orders', 'poison', { queueId: 0, flag: 5, props: { TAGS: 'A', KEYS: 'k', UNIQ_KEY: 'U1' } });
    const first = positionOf(client, 'orders');
    const back = { group: 'readers', delayLevel: 0, maxReconsumeTimes: 2, originTopic: 'orders' };

    expect(client.call('CONSUMER_SEND_MSG_BACK', { ...back, offset: first }).code).toBe(0);
    stage.run(350);
    expect(client.bodies('%RETRY%readers')).toEqual([]);
    stage.run(150);
    const [again] = client.read('%RETRY%readers');
    expect(again).toMatchObject({ topic: '%RETRY%readers', reconsumeTimes: 1, flag: 5 });
    const properties = decodeProperties(again!.properties);
    expect(Object.fromEntries(properties)).toMatchObject({
      RETRY_TOPIC: 'orders',
      TAGS: 'A',
      KEYS: 'k',
      UNIQ_KEY: 'U1',
      REAL_TOPIC: '%RETRY%readers',
    });
    expect(properties.get('ORIGIN_MESSAGE_ID')).toBe(`7F00000100000000${first.toString(16).toUpperCase().padStart(16, '0')}`);

    expect(client.call('CONSUMER_SEND_MSG_BACK', { ...back, offset: positionOf(client, '%RETRY%readers') }).code).toBe(0);
    stage.run(700);
    expect(client.bodies('%RETRY%readers')).toHaveLength(1);
    stage.run(300);
    expect(client.read('%RETRY%readers').map((message) => message.reconsumeTimes)).toEqual([1, 2]);

    expect(client.call('CONSUMER_SEND_MSG_BACK', { ...back, offset: positionOf(client, '%RETRY%readers') }).code).toBe(0);
    const [dead] = client.read('%DLQ%readers');
    expect(dead!.body.toString()).toBe('poison');
    expect(decodeProperties(dead!.properties).get('ORIGIN_MESSAGE_ID')).toBe(properties.get('ORIGIN_MESSAGE_ID'));
    expect(decodeProperties(dead!.properties).get('RETRY_TOPIC')).toBe('orders');
    expect(stage.core.counters).toMatchObject({ sendBacks: 3, deadLetters: 1 });
    stage.run(5000);
    expect(client.bodies('%RETRY%readers')).toHaveLength(2);
  });

  it('goes to the dead letters at once when the consumer says so', () => {
    const client = new Stage({ delayLevelsMs: LEVELS }).start().client();
    client.send('orders', 'x');
    expect(client.call('CONSUMER_SEND_MSG_BACK', { group: 'g', delayLevel: -1, offset: positionOf(client, 'orders') }).code).toBe(
      0,
    );
    expect(client.bodies('%DLQ%g')).toEqual(['x']);
  });

  it('can be given back again after it was delayed on purpose, without keeping the old delay', () => {
    const stage = new Stage({ delayLevelsMs: LEVELS }).start();
    const client = stage.client();
    client.send('orders', 'x', { props: { DELAY: '1' } });
    stage.run(300);
    client.call('CONSUMER_SEND_MSG_BACK', { group: 'g', delayLevel: 0, offset: positionOf(client, 'orders') });
    stage.run(1000);
    expect(client.bodies('%RETRY%g')).toEqual(['x']);
    expect(client.bodies('orders')).toEqual(['x']);
  });

  it.each([
    ['nothing', 12, 'g'],
    ['a place inside a message', 4096 + 48 + 7, 'g'],
    ['a place beyond the end', 1e9, 'g'],
    ['a message of no group', 4096 + 48, ' '],
  ])('by the place of %s is refused', (_what, offset, group) => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    const answer = client.call('CONSUMER_SEND_MSG_BACK', { group, delayLevel: 0, offset });
    expect([1, 26]).toContain(answer.code);
  });

  it("is not another group's retry", () => {
    const stage = new Stage({ delayLevelsMs: [10, 10, 10, 10] }).start();
    const client = stage.client();
    client.send('orders', 'x');
    client.call('CONSUMER_SEND_MSG_BACK', { group: 'mine', delayLevel: 0, offset: positionOf(client, 'orders') });
    stage.run(200);
    const answer = client.call('CONSUMER_SEND_MSG_BACK', {
      group: 'other',
      delayLevel: 0,
      offset: positionOf(client, '%RETRY%mine'),
    });
    expect(answer).toMatchObject({ code: 1, remark: expect.stringContaining('look message by offset failed') });
  });
});

describe('an ordinary send to a retry topic', () => {
  it('is delivered there after its delay, or goes to the dead letters when the retries are used up', () => {
    const stage = new Stage({ delayLevelsMs: LEVELS }).start();
    const client = stage.client();
    const props = { DELAY: '2', RETRY_TOPIC: 'orders' };
    expect(client.send('%RETRY%g', 'again', { props, reconsumeTimes: 1, maxReconsumeTimes: 3 }).code).toBe(0);
    expect(client.send('%RETRY%g', 'dead', { props, reconsumeTimes: 4, maxReconsumeTimes: 3 }).code).toBe(0);
    expect(client.bodies('%DLQ%g')).toEqual(['dead']);
    stage.run(400);
    expect(client.bodies('%RETRY%g')).toEqual(['again']);
  });

  it('goes to the dead letters while the group holds queue locks: it consumes in order and has given up', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    const lock = { consumerGroup: 'g', clientId: 'c', mqSet: [{ topic: 'orders', brokerName: 'broker-a', queueId: 0 }] };
    client.raw(41, undefined, Buffer.from(JSON.stringify(lock)));
    client.send('%RETRY%g', 'given up', { reconsumeTimes: 1, maxReconsumeTimes: 16 });
    expect(client.bodies('%DLQ%g')).toEqual(['given up']);
  });
});
