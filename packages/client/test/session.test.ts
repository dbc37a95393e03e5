import { RequestCode } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { Stage } from './fake-broker.ts';

function stageWithTopic(): Stage {
  const stage = new Stage();
  stage.broker.topics.set('t', 1);
  return stage;
}

const send = (producer: ReturnType<ReturnType<Stage['client']>['producer']>, told: string[] = []): string[] => {
  producer.send({ topic: 't', value: 'v' }, (error) => told.push(error?.code ?? 'sent'));
  return told;
};

describe('session', () => {
  it('tells brokers of all groups of the client, each once, every heartbeatIntervalMs', () => {
    const stage = stageWithTopic();
    const client = stage.client({ heartbeatIntervalMs: 1000 });
    const producers = [client.producer({ group: 'p' }), client.producer({ group: 'p' }), client.producer({ group: 'q' })];
    send(producers[0]!);
    stage.time.advance(2500);
    const beats = stage.broker.asks(RequestCode.HEART_BEAT).map(({ body }) => JSON.parse(body.toString()));
    expect(beats.length).toBeGreaterThanOrEqual(3);
    expect(beats.at(-1).producerDataSet).toEqual([{ groupName: 'p' }, { groupName: 'q' }]);
  });

  it('leaves a group when its last producer closes', () => {
    const stage = stageWithTopic();
    const client = stage.client();
    const [one, two] = [client.producer({ group: 'p' }), client.producer({ group: 'p' })];
    send(one);
    stage.time.settle();
    one.close(0, () => {});
    stage.time.settle();
    expect(stage.broker.asks(RequestCode.UNREGISTER_CLIENT)).toEqual([]);
    two.close(0, () => {});
    stage.time.settle();
    expect(stage.broker.asks(RequestCode.UNREGISTER_CLIENT).length).toBe(1);
  });

  it('drops a connection whose heartbeat stays unanswered, and works over a new one', () => {
    const stage = stageWithTopic();
    const client = stage.client({ heartbeatIntervalMs: 1000 });
    const producer = client.producer();
    send(producer);
    stage.time.settle();
    const dead = stage.broker.peers.length - 1;
    stage.broker.script = (_code, { connection }) => (connection === dead ? 'silent' : 'ok');
    stage.time.advance(5000);
    const told = send(producer);
    stage.time.advance(100);
    expect(told).toEqual(['sent']);
    expect(stage.broker.peers.length).toBeGreaterThan(dead + 1);
  });

  it('asks at once whether a connection is dead when a send on it stays unanswered', () => {
    const stage = stageWithTopic();
    const producer = stage.client({ requestTimeoutMs: 300 }).producer({ requestTimeoutMs: 300 });
    send(producer);
    stage.time.settle();
    const dead = stage.broker.peers.length - 1;
    stage.broker.script = (_code, { connection }) => (connection === dead ? 'silent' : 'ok');
    const told = send(producer);
    stage.time.advance(700);
    send(producer, told);
    stage.time.advance(500);
    expect(told).toEqual(['TIMEOUT', 'sent']);
  });

  it('holds connections to every broker of the cluster for a producer that brokers must reach', () => {
    const stage = stageWithTopic();
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    stage.broker.listsCluster = true;
    const producer = stage.client().transactionProducer({ group: 'bank', listener: { check: () => {} } });
    const told: unknown[] = [];
    producer.start((error) => told.push(error));
    stage.time.settle();
    const beats = (): number => other.asks(RequestCode.HEART_BEAT).length;
    const before = beats();
    expect([told, before > 0]).toEqual([[undefined], true]);
    other.cut();
    stage.time.advance(1000);
    expect(beats()).toBe(before + 1);
  });

  it('asks the next name server when one cannot be reached', () => {
    const stage = stageWithTopic();
    const told = send(stage.client({ address: 'nowhere:1;10.0.0.1:9876' }).producer());
    stage.time.advance(1000);
    expect(told).toEqual(['sent']);
  });

  it('answers requests it does not know, so that the broker need not wait', () => {
    const stage = stageWithTopic();
    send(stage.client().producer());
    stage.time.settle();
    const codes: number[] = [];
    stage.broker.peers
      .at(-1)!
      .request(RequestCode.GET_CONSUMER_RUNNING_INFO, {}, undefined, 1000, (_, reply) => codes.push(reply.code));
    stage.time.settle();
    expect(codes).toEqual([3]);
  });

  it('asks for the route again when a broker says that it has no such topic', () => {
    const stage = stageWithTopic();
    const producer = stage.client().producer({ retryBackoffMs: 10 });
    send(producer);
    stage.time.settle();
    const routes = (): number => stage.broker.asks(RequestCode.GET_ROUTEINFO_BY_TOPIC).length;
    const before = routes();
    let first = true;
    stage.broker.script = (code) => (code === RequestCode.SEND_MESSAGE_V2 && first && !(first = false) ? { code: 17 } : 'ok');
    const told = send(producer);
    stage.time.advance(100);
    expect([told, routes() > before]).toEqual([['sent'], true]);
  });

  it('learns new queues of a topic from the routes it asks for again', () => {
    const stage = stageWithTopic();
    const producer = stage.client({ routeIntervalMs: 1000 }).producer();
    send(producer);
    stage.time.settle();
    stage.broker.topics.set('t', 3);
    stage.time.advance(1000);
    const told: number[] = [];
    producer.send({ topic: 't', value: 'v', queueId: 2 }, (_, receipt) => told.push(receipt.queueId));
    stage.time.settle();
    expect(told).toEqual([2]);
  });

  it('ends with nothing left to wait for when the client closes', () => {
    const stage = stageWithTopic();
    const client = stage.client();
    const told = send(client.producer());
    const transactional = client.transactionProducer({ group: 'bank', listener: { check: () => {} } });
    transactional.start(() => {});
    const consumer = client.consumer({ group: 'g', topics: { t: '*' }, handler: (_, settle) => settle() });
    consumer.start(() => {});
    stage.time.advance(1000);
    let closed = false;
    client.close(() => (closed = true));
    stage.time.advance(5000);
    expect([told, closed]).toEqual([['sent'], true]);
    stage.time.advance(600_000);
    expect(stage.time.timersWaiting).toBe(0);
  });
});
