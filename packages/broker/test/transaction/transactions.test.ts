import { decodeProperties, decodeStoredMessage } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { halfOf, messagesOf, Stage, type Half, type TestClient } from '../broker-stage.ts';

/**
 * Stories of one half message, event by event. `end X` is an answered confirmation, `tell X` a one-way one; what follows the arrow
 * is the code of the answer (and a word of its text). `restart` kills the process, `power` the machine. After the last event:
 * how often the message is visible, and what `halves` lists.
 */
const STORIES = `
  nothing is visible before the verdict            : half; restart                                                  | 0 | open
  a commit shows the message once                  : half; end commit > 0                                           | 1 |
  a rollback shows nothing                         : half; end rollback > 0                                         | 0 |
  a one-way commit shows it                        : half; tell commit                                              | 1 |
  the same verdict again is confirmed again        : half; end commit > 0; end commit > 0; tell commit              | 1 |
  the same rollback again is confirmed again       : half; end rollback > 0; end rollback > 0                       | 0 |
  the opposite of a commit is refused              : half; end commit > 0; end rollback > 1 otherwise               | 1 |
  the opposite of a rollback is refused            : half; end rollback > 0; end commit > 1 otherwise               | 0 |
  the opposite is refused after a restart too      : half; end rollback > 0; restart; end commit > 1 otherwise      | 0 |
  the same is confirmed after a power cut too      : half; end commit > 0; power; end commit > 0                    | 1 |
  an open half outlives a restart                  : half; restart; end commit > 0                                  | 1 |
  an open half outlives a power cut                : half; power; end rollback > 0                                  | 0 |
  an answered commit outlives a power cut          : half; end commit > 0; power                                    | 1 |
  another group has no say                         : half; end commit group=x > 1 producer group wrong              | 0 | open
  a wrong half offset is refused                   : half; end commit offset=9 > 1 Find prepared                    | 0 | open
  a wrong position is refused                      : half; end commit position=9 > 1 commit log offset wrong        | 0 | open
  a wrong key is refused                           : half; end commit key=x > 1 unique key wrong                    | 0 | open
  a wrong group is refused after the verdict too   : half; end commit > 0; end commit group=x > 1 group wrong       | 1 |
  a wrong key is refused after the verdict too     : half; end commit > 0; restart; end commit key=x > 1 key wrong  | 1 |
  an unknown is not answered and changes nothing   : half; tell unknown; end commit > 0                             | 1 |
  questions end in parking                         : live; half; wait 600                                           | 0 | parked
  a parked half is still settled by a late answer  : live; half; wait 600; end commit > 0                           | 1 |
  a parked half is still rolled back               : live; half; wait 600; end rollback > 0; end commit > 1         | 0 |
  a parked half outlives a restart                 : live; half; wait 600; restart; end commit > 0                  | 1 |
  without a producer nothing is parked             : half; wait 2000                                                | 0 | open
  a verdict in the middle of the questions counts  : live; half; wait 250; end rollback > 0; wait 600               | 0 |
`;

const stories = STORIES.trim()
  .split('\n')
  .map((line) => {
    const [name, rest] = line.split(' : ', 2) as [string, string];
    const [events, visible, listed] = rest.split('|').map((cell) => cell.trim()) as [string, string, string];
    return {
      name: name.trim(),
      events: events.split(';').map((event) => event.trim()),
      visible: Number(visible),
      listed: listed ?? '',
    };
  });

class Story {
  readonly stage = new Stage({ checkMax: 3, checkAfterMs: 50, checkIntervalMs: 100 }).start();
  client: TestClient = this.stage.client();
  half: Half | undefined;
  #live = false;

  play(event: string): void {
    const [words, expected] = event.split('>').map((part) => part.trim()) as [string, string | undefined];
    const [verb, what, change] = words.split(' ') as [string, string | undefined, string | undefined];
    if (verb === 'half') this.half = this.client.half('orders', 'debit 5', 'KEY1');
    else if (verb === 'live') {
      this.#live = true;
      this.client.heartbeat({ producers: ['pay'] });
    } else if (verb === 'wait') this.stage.run(Number(what));
    else if (verb === 'restart' || verb === 'power') {
      if (verb === 'power') this.stage.powerCut();
      else this.stage.restart();
      this.client = this.stage.client();
      if (this.#live) this.client.heartbeat({ producers: ['pay'] });
    } else if (verb === 'tell') this.client.oneway('END_TRANSACTION', this.client.end(this.half!, what as 'commit'));
    else this.#end(what as 'commit', change, expected!);
  }

  #end(verdict: 'commit' | 'rollback', change: string | undefined, expected: string): void {
    const [name, value] = (change ?? '').split('=') as [string, string];
    const changes = {
      '': {},
      group: { producerGroup: value },
      offset: { tranStateTableOffset: Number(value) },
      position: { commitLogOffset: Number(value) },
      key: { msgId: value, transactionId: value },
    }[name];
    const answer = this.client.call('END_TRANSACTION', this.client.end(this.half!, verdict, changes));
    const [code, ...text] = expected.split(' ');
    expect([answer.code, answer.remark]).toEqual([
      Number(code),
      text.length > 0 ? expect.stringContaining(text.join(' ')) : answer.remark,
    ]);
  }
}

describe('half messages', () => {
  it.each(stories)('$name', ({ events, visible, listed }) => {
    const story = new Story();
    for (const event of events) story.play(event);
    expect(story.client.bodies('orders')).toEqual(new Array<string>(visible).fill('debit 5'));
    expect(story.stage.core.halves().map(({ state }) => state)).toEqual(listed === '' ? [] : [listed]);
    expect(story.stage.failures).toEqual([]);
    const again = story.stage.restart().client();
    expect(again.bodies('orders')).toEqual(new Array<string>(visible).fill('debit 5'));
    expect(story.stage.core.halves().map(({ state }) => state)).toEqual(listed === '' ? [] : [listed]);
  });

  it('answer with the queue of the message and the offset of the half queue', () => {
    const client = new Stage().start().client();
    client.half('orders', 'a', 'K0');
    const answer = client.send('orders', 'b', {
      queueId: 3,
      sysFlag: 4,
      props: { TRAN_MSG: 'true', PGROUP: 'pay', UNIQ_KEY: 'K1' },
    });
    expect(Object.fromEntries(answer.fields)).toMatchObject({ queueId: '3', queueOffset: '1', transactionId: 'K1' });
  });

  it('become a message with the type commit and the position of the half', () => {
    const client = new Stage().start().client();
    const half = client.half('orders', 'a', 'K0');
    client.call('END_TRANSACTION', client.end(half, 'commit'));
    const [message] = client.read('orders');
    expect(message).toMatchObject({
      sysFlag: 8,
      preparedTransactionOffset: half.position,
      queueOffset: 0,
      topic: 'orders',
      queueId: 0,
    });
    expect(Object.fromEntries(decodeProperties(message!.properties))).toMatchObject({
      TRAN_MSG: 'true',
      PGROUP: 'pay',
      UNIQ_KEY: 'K0',
      __transactionId__: 'K0',
      REAL_TOPIC: 'orders',
      REAL_QID: '0',
    });
  });

  it('take the verdicts of a thousand transactions apart', () => {
    const stage = new Stage().start();
    const client = stage.client();
    const halves = Array.from({ length: 300 }, (_, n) => client.half('orders', `m${n}`, `K${n}`));
    for (const [n, half] of halves.entries())
      if (n % 3 !== 2) client.peer.oneway(37, client.end(half, n % 3 === 0 ? 'commit' : 'rollback') as never);
    stage.run(500);
    expect(client.bodies('orders')).toEqual(halves.flatMap((_, n) => (n % 3 === 0 ? [`m${n}`] : [])));
    expect(stage.core.halves()).toHaveLength(100);
    expect(stage.core.counters).toMatchObject({ halves: 300, commits: 100, rollbacks: 100 });
    stage.powerCut();
    expect(stage.core.halves()).toHaveLength(100);
    expect(stage.client().bodies('orders')).toHaveLength(100);
  });

  it.each(['in memory', 'after a restart'])('are known alike and become what their senders sent, committed %s', (when) => {
    const stage = new Stage({ checkAfterMs: 600_000, checkIntervalMs: 600_000 }).start();
    let client = stage.client();
    const said: Record<string, string>[] = [
      { UNIQ_KEY: '0123456789ABCDEF0123456789ABCDEF', PGROUP: 'pay', TRAN_MSG: 'true' },
      { UNIQ_KEY: 'a key of its own', PGROUP: 'other', TRAN_MSG: 'TRUE', TAGS: 'paid', X: 'REAL_QID' },
      { UNIQ_KEY: '0123456789ABCDEF0123456789ABCDEE', PGROUP: 'pay', TRAN_MSG: 'true', REAL_TOPIC: 'forged', REAL_QID: '3' },
      { UNIQ_KEY: 'ä'.repeat(40), TRAN_MSG: 'true', CHECK_IMMUNITY_TIME_IN_SECONDS: '900' },
      { UNIQ_KEY: 'immune', PGROUP: 'pay', TRAN_MSG: 'true', CHECK_IMMUNITY_TIME_IN_SECONDS: '900' },
    ];
    const halves = said.map((props, n) => {
      const queueId = n % 2;
      const answer = client.send('orders', `m${n}`, { producerGroup: 'asking', queueId, sysFlag: 4, props });
      return halfOf(answer, props['UNIQ_KEY']!, props['PGROUP'] ?? 'asking');
    });
    const known = (): unknown[] => stage.core.halves().map((half) => ({ ...half, ageMs: 0 }));
    const live = known();
    expect(live).toEqual(
      halves.map(({ offset, position, id, group }) => ({
        ...{ offset, position, id, group },
        ...{ topic: 'orders', ageMs: 0, checks: 0, state: 'open' },
      })),
    );
    if (when === 'after a restart') client = stage.restart().client();
    expect(known()).toEqual(live);

    for (const half of halves) client.peer.oneway(37, client.end(half, 'commit') as never);
    stage.run(100);
    for (const queueId of [0, 1]) {
      const mine = said.map((props, n) => ({ props, n })).filter(({ n }) => n % 2 === queueId);
      const read = client.read('orders', queueId);
      expect(read.map((message) => message.body.toString())).toEqual(mine.map(({ n }) => `m${n}`));
      for (const [at, { props }] of mine.entries()) {
        const now = decodeProperties(read[at]!.properties);
        const added = { __transactionId__: props['UNIQ_KEY'], REAL_TOPIC: 'orders', REAL_QID: String(queueId) };
        expect(Object.fromEntries(now)).toMatchObject({ ...props, ...added });
      }
    }
    expect(client.pull('orders', 0, { queueId: 1, subscription: 'paid' }).fields.get('nextBeginOffset')).toBe('2');
    expect(messagesOf(client.pull('orders', 0, { queueId: 1, subscription: 'paid' }))).toHaveLength(1);
  });

  it('cannot be looked at by their place in the log', () => {
    const client = new Stage().start().client();
    const half = client.half('orders', 'secret', 'K0');
    expect(client.call('VIEW_MESSAGE_BY_ID', { offset: half.position }).code).toBe(1);
    const back = client.call('CONSUMER_SEND_MSG_BACK', { offset: half.position, group: 'readers', delayLevel: 0 });
    expect(back.code).toBe(1);
  });

  it('are refused as busy when too many are open, and confirmations are not', () => {
    const client = new Stage({ halvesMax: 2 }).start().client();
    const half = client.half('orders', 'a', 'K0');
    client.half('orders', 'b', 'K1');
    const third = client.send('orders', 'c', { props: { TRAN_MSG: 'true', PGROUP: 'pay', UNIQ_KEY: 'K2' } });
    expect(third.code).toBe(2);
    expect(client.call('END_TRANSACTION', client.end(half, 'commit')).code).toBe(0);
    expect(client.half('orders', 'c', 'K2').offset).toBe(2);
    expect(client.stage.core.counters).toMatchObject({ busy: 1, busyHalves: 1 });
  });

  it('of a group that has its fill are refused, while other groups go on', () => {
    const stage = new Stage({ halvesPerGroupMax: 2 }).start();
    const client = stage.client();
    const [first] = [client.half('orders', 'a', 'K0'), client.half('orders', 'b', 'K1')];
    const refused = (id: string) => client.send('orders', 'x', { props: { TRAN_MSG: 'true', PGROUP: 'pay', UNIQ_KEY: id } });
    expect(refused('K2')).toMatchObject({ code: 2, remark: '[OVERLOAD]system busy, start flow control for a while' });
    expect(client.half('orders', 'c', 'K3', 'ship').offset).toBe(2);
    expect(client.half('orders', 'd', 'K4', 'ship').offset).toBe(3);
    const again = stage.restart().client();
    expect(again.send('orders', 'x', { props: { TRAN_MSG: 'true', PGROUP: 'pay', UNIQ_KEY: 'K5' } }).code).toBe(2);
    expect(again.call('END_TRANSACTION', again.end(first, 'rollback')).code).toBe(0);
    expect(again.half('orders', 'e', 'K6').offset).toBe(4);
  });
});

describe('a check-back', () => {
  it('carries the half as a consumer would see it, with its own offsets', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.heartbeat({ producers: ['pay'] });
    const other = client.half('orders', 'first', 'K0');
    const half = client.half('orders', 'debit 5', 'K1');
    client.call('END_TRANSACTION', client.end(other, 'rollback'));
    stage.until(() => client.told.length > 0);
    const [check] = client.told;
    expect(check!.code).toBe(39);
    expect(Object.fromEntries(check!.fields)).toMatchObject({
      topic: 'RMQ_SYS_TRANS_HALF_TOPIC',
      tranStateTableOffset: String(half.offset),
      commitLogOffset: String(half.position),
      msgId: 'K1',
      transactionId: 'K1',
      bname: 'broker-a',
      offsetMsgId: `7F00000100000000${half.position.toString(16).toUpperCase().padStart(16, '0')}`,
    });
    const message = decodeStoredMessage(check!.body);
    if (typeof message === 'string') throw new Error(message);
    expect(message).toMatchObject({ topic: 'orders', queueId: 0, queueOffset: half.offset, physicalOffset: half.position });
    expect(message.body.toString()).toBe('debit 5');
    expect(decodeProperties(message.properties).get('TRANSACTION_CHECK_TIMES')).toBe('1');
    stage.until(() => client.told.length > 1);
    expect(Object.fromEntries(client.told[1]!.fields)).toEqual(Object.fromEntries(check!.fields));
  });

  it('does not come before the time that the sender asked for', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.heartbeat({ producers: ['pay'] });
    const props = { UNIQ_KEY: 'K0', PGROUP: 'pay', TRAN_MSG: 'true', CHECK_IMMUNITY_TIME_IN_SECONDS: '2' };
    client.send('orders', 'x', { producerGroup: 'pay', sysFlag: 4, props });
    stage.run(1500);
    expect(client.told).toEqual([]);
    stage.run(1000);
    expect(client.told.length).toBeGreaterThan(0);
  });

  it('goes to the connections of the group in turn, and not to other groups', () => {
    const stage = new Stage().start();
    const [one, two, stranger] = [stage.client(), stage.client(), stage.client()];
    one.heartbeat({ producers: ['pay'] });
    two.heartbeat({ producers: ['pay'] });
    stranger.heartbeat({ producers: ['other'] });
    one.half('orders', 'x', 'K0');
    stage.until(() => one.told.length + two.told.length >= 4);
    expect([one.told.length, two.told.length, stranger.told.length]).toEqual([2, 2, 0]);
  });

  it('counts on after a restart', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.heartbeat({ producers: ['pay'] });
    client.half('orders', 'x', 'K0');
    stage.until(() => client.told.length === 2);
    stage.run(50);
    expect(stage.core.halves()[0]!.checks).toBe(2);
    stage.restart();
    expect(stage.core.halves()[0]!.checks).toBe(2);
    const again = stage.client();
    again.heartbeat({ producers: ['pay'] });
    stage.until(() => again.told.length === 1);
    const message = decodeStoredMessage(again.told[0]!.body);
    expect(typeof message === 'string' ? message : decodeProperties(message.properties).get('TRANSACTION_CHECK_TIMES')).toBe('3');
  });

  it('does not make the log grow but for one small record per round', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.heartbeat({ producers: ['pay'] });
    for (let n = 0; n < 50; n++) client.half('orders', 'x'.repeat(500), `K${n}`);
    stage.run(150);
    const before = stage.core.store.info().appendedEnd;
    stage.run(500);
    expect(client.told.length).toBeGreaterThan(200);
    expect(stage.core.store.info().appendedEnd - before).toBeLessThan(1500);
  });

  it('raises an alarm when a half waits long for a group that nobody produces for', () => {
    const stage = new Stage({ waitingAlarmMs: 1000 }).start();
    stage.client().half('orders', 'x', 'K0');
    stage.run(900);
    expect(stage.alarms).toEqual([]);
    stage.run(300);
    expect(stage.alarms[0]).toContain('1 half messages wait for producer groups that are not connected');
    expect(stage.core.halves()[0]!.checks).toBe(0);
  });
});
