import { describe, expect, it } from 'vitest';
import { Town, type TownBroker } from './town.ts';

const NAMES = '10.0.0.1:9876';
const OTHER = '10.0.0.2:10911';
const [ROUTE, CLUSTER, TOPICS, MAKE_TOPIC, REGISTER, UNREGISTER, DATA_VERSION] = [105, 106, 206, 17, 103, 104, 322];

function routeOf(town: Town, topic: string, at = NAMES): { readonly code: number; readonly queues: Record<string, number> } {
  const answer = town.ask(at, ROUTE, { topic, acceptStandardJsonOnly: true });
  if (answer.code !== 0) return { code: answer.code, queues: {} };
  const { brokerDatas, queueDatas } = JSON.parse(answer.body.toString()) as {
    brokerDatas: { brokerName: string; brokerAddrs: Record<string, string> }[];
    queueDatas: { brokerName: string; writeQueueNums: number }[];
  };
  const address = new Map(brokerDatas.map(({ brokerName, brokerAddrs }) => [brokerName, brokerAddrs['0']]));
  return {
    code: 0,
    queues: Object.fromEntries(
      queueDatas.map(({ brokerName, writeQueueNums }) => [`${brokerName} ${address.get(brokerName)}`, writeQueueNums]),
    ),
  };
}

function brokersOf(town: Town, at = NAMES): string[] {
  const { brokerAddrTable } = JSON.parse(town.ask(at, CLUSTER, {}).body.toString()) as {
    brokerAddrTable: Record<string, { brokerAddrs: Record<string, string> }>;
  };
  return Object.entries(brokerAddrTable).map(([name, { brokerAddrs }]) => `${name} ${brokerAddrs['0']}`);
}

function makeTopic(town: Town, at: string, topic: string, queues: number): void {
  const fields = {
    topic,
    defaultTopic: 'TBW102',
    readQueueNums: queues,
    writeQueueNums: queues,
    perm: 6,
    topicFilterType: 'SINGLE_TAG',
  };
  expect(town.ask(at, MAKE_TOPIC, fields).code).toBe(0);
}

function second(town: Town, more: object = {}): TownBroker {
  return town.broker(OTHER, { brokerName: 'broker-b', nameServers: NAMES, ...more });
}

describe('a broker that registers at another one', () => {
  it('stands in its routes, cluster list and topic list, beside the other', () => {
    const town = new Town();
    town.broker(NAMES);
    second(town);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`, `broker-b ${OTHER}`]);
    makeTopic(town, NAMES, 'both', 2);
    makeTopic(town, OTHER, 'both', 3);
    makeTopic(town, OTHER, 'there', 1);
    town.run(500);
    expect(routeOf(town, 'both').queues).toEqual({ [`broker-a ${NAMES}`]: 2, [`broker-b ${OTHER}`]: 3 });
    expect(routeOf(town, 'there').queues).toEqual({ [`broker-b ${OTHER}`]: 1 });
    expect(routeOf(town, 'nowhere').code).toBe(17);
    const { topicList } = JSON.parse(town.ask(NAMES, TOPICS, {}).body.toString()) as { topicList: string[] };
    expect(topicList).toEqual(expect.arrayContaining(['both', 'there', 'TBW102', 'broker-b']));
    expect(topicList.filter((name) => name === 'both')).toHaveLength(1);
    expect(routeOf(town, 'both', OTHER).queues).toEqual({ [`broker-b ${OTHER}`]: 3 });
  });

  it('leaves them when it stops', () => {
    const town = new Town();
    town.broker(NAMES);
    const other = second(town);
    makeTopic(town, OTHER, 'there', 1);
    town.run(500);
    town.stop(other);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`]);
    expect(routeOf(town, 'there').code).toBe(17);
  });

  it('is dropped when it dies, and comes back when it starts again', () => {
    const town = new Town();
    town.broker(NAMES);
    const other = second(town);
    other.owner.kill();
    town.run(500);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`]);
    town.broker(OTHER, { brokerName: 'broker-b', nameServers: NAMES }, other.disk);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`, `broker-b ${OTHER}`]);
  });

  it('stays as long as it repeats itself, and comes back by itself after the name server was away', () => {
    const town = new Town();
    const names = town.broker(NAMES);
    second(town);
    town.run(600_000);
    expect(brokersOf(town)).toHaveLength(2);
    names.owner.kill();
    town.run(10_000);
    town.broker(NAMES, {}, names.disk);
    town.run(3000);
    expect(brokersOf(town)).toHaveLength(2);
  });

  it('starts although its name server is not there, and is known soon after that is', () => {
    const town = new Town();
    const other = second(town);
    const unreachable = `this broker is not registered at the name server ${NAMES} (`;
    expect([other.core.state, other.alarms]).toEqual(['serving', [expect.stringContaining(unreachable)]]);
    town.run(60_000);
    town.broker(NAMES);
    town.run(3000);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`, `broker-b ${OTHER}`]);
  });

  it('is refused at its start under the name of the name server itself', () => {
    const town = new Town();
    town.broker(NAMES);
    expect(() => town.broker(OTHER, { nameServers: NAMES })).toThrow(
      `the name server ${NAMES} knows a broker broker-a at ${NAMES}; give this one (${OTHER}) another brokerName (--broker-name)`,
    );
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`]);
  });

  it('is refused at its start under the name of a third', () => {
    const town = new Town();
    town.broker(NAMES);
    second(town);
    expect(() => town.broker('10.0.0.3:10911', { brokerName: 'broker-b', nameServers: NAMES })).toThrow(
      `knows a broker broker-b at ${OTHER}`,
    );
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`, `broker-b ${OTHER}`]);
  });

  it('serves on, and says so, when its name is found taken only later', () => {
    const town = new Town();
    const other = town.broker(OTHER, { nameServers: NAMES });
    town.broker(NAMES);
    town.run(120_000);
    expect(other.core.state).toBe('serving');
    expect(other.alarms).toEqual([
      expect.stringContaining('not registered at the name server'),
      expect.stringContaining('another brokerName (--broker-name)'),
    ]);
  });

  it('may register at several', () => {
    const town = new Town();
    town.broker(NAMES);
    town.broker('10.0.0.3:9876', { brokerName: 'broker-c' });
    second(town, { nameServers: `${NAMES};10.0.0.3:9876` });
    expect(brokersOf(town)).toContain(`broker-b ${OTHER}`);
    expect(brokersOf(town, '10.0.0.3:9876')).toContain(`broker-b ${OTHER}`);
  });

  it('needs an address that clients can reach', () => {
    expect(() => new Town().broker('127.0.0.1:0', { nameServers: NAMES })).toThrow('clients cannot reach 127.0.0.1:0');
  });
});

describe('a registration as it comes from RocketMQ', () => {
  const table = {
    t: {
      order: false,
      perm: 6,
      readQueueNums: 4,
      topicFilterType: 'SINGLE_TAG',
      topicName: 't',
      topicSysFlag: 0,
      writeQueueNums: 4,
    },
  };
  const version = { counter: 3, stateVersion: 0, timestamp: 1_700_000_000_000 };
  const body = (more: object = {}): Buffer =>
    Buffer.from(
      JSON.stringify({
        filterServerList: [],
        topicConfigSerializeWrapper: { dataVersion: version, topicConfigTable: table, ...more },
      }),
    );
  const fields = {
    brokerName: 'b',
    brokerAddr: '10.0.0.9:10911',
    clusterName: 'C',
    haServerAddr: '10.0.0.9:10912',
    brokerId: 0,
    compressed: false,
    bodyCrc32: 0,
  };

  /** Its connection stays open as long as the process lives. */
  function registered(town: Town, more: Record<string, string | number | boolean> = {}, bytes = body()) {
    const names = town.broker(NAMES);
    const answer = town.ask(NAMES, REGISTER, { ...fields, ...more }, bytes);
    return { names, answer };
  }

  it.each([
    ['a body that was damaged on its way', { bodyCrc32: 12345 }, body(), 'crc32 of the body differs'],
    ['a compressed body', { compressed: true }, body(), 'set compressedRegister=false'],
    ['a body that is no JSON', {}, Buffer.from('{'), 'JSON'],
    ['the name of the broker that serves', { brokerName: 'broker-a' }, body(), 'start the other with another brokerName'],
  ])('is refused with %s', (_what, more, bytes, text) => {
    const { answer } = registered(new Town(), more, bytes);
    expect([answer.code, answer.remark]).toEqual([1, expect.stringContaining(text)]);
  });

  it('is refused beyond as many brokers as are allowed', () => {
    const town = new Town();
    town.broker(NAMES, { registeredBrokersMax: 0 });
    const answer = town.ask(NAMES, REGISTER, fields, body());
    expect([answer.code, answer.remark]).toEqual([1, expect.stringContaining('registeredBrokersMax')]);
  });

  it('ends with the connection it came on, and with a goodbye', () => {
    const town = new Town();
    expect(registered(town).answer.code).toBe(0);
    town.run(100);
    expect(brokersOf(town)).toEqual([`broker-a ${NAMES}`]);
    expect(town.ask(NAMES, UNREGISTER, fields).code).toBe(0);
  });

  it('need not be repeated while the version is known', () => {
    const town = new Town();
    town.broker(NAMES);
    const ask = (asked: object) => town.ask(NAMES, DATA_VERSION, fields, Buffer.from(JSON.stringify(asked)));
    expect(ask(version).fields['changed']).toBe('true');
    const other = second(town);
    const known = { ...fields, brokerName: 'broker-b', brokerAddr: OTHER };
    const first = town.ask(NAMES, DATA_VERSION, known, Buffer.from(JSON.stringify(version)));
    expect(first.fields['changed']).toBe('true');
    const same = town.ask(NAMES, DATA_VERSION, known, first.body);
    expect(same.fields['changed']).toBe('false');
    makeTopic(town, other.address, 'more', 1);
    town.run(500);
    expect(town.ask(NAMES, DATA_VERSION, known, first.body).fields['changed']).toBe('true');
  });
});
