/**
 * Asks name servers: for the route of a topic and for all brokers. Of several addresses it stays with the one that answered last
 * and goes on to the next when one is silent. A topic that no broker has yet gets the route of TBW102, RocketMQ's name for "what a
 * new topic would look like", with at most as many queues as we will ask for.
 */
import { type Frame, RequestCode, ResponseCode, decodeClusterInfo, decodeTopicRoute } from '@tallystick/remoting';
import { ClientError, answerError, callError } from '../errors.ts';
import type { Connection, Fields, Peers } from '../peers.ts';
import { MASTER_ID, type TopicRoute, topicRoute } from './topic-route.ts';

const DEFAULT_TOPIC = 'TBW102';

export class NameServer {
  readonly #peers: Peers;
  readonly #addresses: readonly string[];
  readonly #timeoutMs: number;
  #current = 0;

  constructor(peers: Peers, addresses: readonly string[], timeoutMs: number) {
    this.#peers = peers;
    this.#addresses = addresses;
    this.#timeoutMs = timeoutMs;
  }

  /** The route of a topic; for one that does not exist, where a broker would make it, with `newQueues` queues. */
  route(topic: string, newQueues: number, done: (error: ClientError | undefined, route: TopicRoute) => void): void {
    this.#routeOf(topic, topic, undefined, (error, route) => {
      if (error?.responseCode !== ResponseCode.TOPIC_NOT_EXIST || newQueues === 0) return done(error, route);
      this.#routeOf(DEFAULT_TOPIC, topic, newQueues, done);
    });
  }

  /** Addresses of all master brokers. */
  brokers(done: (error: ClientError | undefined, addresses: readonly string[]) => void): void {
    this.ask(RequestCode.GET_BROKER_CLUSTER_INFO, {}, (error, reply) => {
      const addresses = error === undefined ? mastersOf(reply.body()) : [];
      if (addresses.length > 0) return done(undefined, addresses);
      // A name server that keeps no cluster list still tells where a new topic would live.
      this.#routeOf(DEFAULT_TOPIC, DEFAULT_TOPIC, undefined, (routeError, route) => {
        if (routeError !== undefined) done(error ?? routeError, []);
        else done(undefined, [...new Set(route.addresses.values())]);
      });
    });
  }

  #routeOf(
    asked: string,
    topic: string,
    newQueues: number | undefined,
    done: (error: ClientError | undefined, route: TopicRoute) => void,
  ): void {
    const none = undefined as unknown as TopicRoute;
    this.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, { topic: asked, acceptStandardJsonOnly: true }, (error, reply) => {
      if (error !== undefined) return done(error, none);
      const data = decodeTopicRoute(reply.body());
      if (typeof data !== 'string') return done(undefined, topicRoute(topic, data, newQueues));
      done(new ClientError('MALFORMED_ANSWER', 'unavailable', 'later', `the route of ${asked} cannot be read: ${data}`), none);
    });
  }

  /** Any request to a name server; an answer other than 0 is an error. */
  ask(code: number, fields: Fields, done: (error: ClientError | undefined, reply: Frame) => void): void {
    this.#askOne(this.#addresses.length, code, fields, done);
  }

  #askOne(left: number, code: number, fields: Fields, done: (error: ClientError | undefined, reply: Frame) => void): void {
    const server: Connection = this.#peers.to(this.#addresses[this.#current % this.#addresses.length]!);
    server.request(code, fields, undefined, this.#timeoutMs, (error, reply) => {
      if (error === undefined)
        return done(reply.code === ResponseCode.SUCCESS ? undefined : answerError(reply.code, reply.remark()), reply);
      if (error.kind === 'timeout') server.drop();
      this.#current++;
      if (left > 1) this.#askOne(left - 1, code, fields, done);
      else done(callError(error.kind, error.message), reply);
    });
  }
}

/** Addresses of the masters in a cluster list; none when it cannot be read. */
function mastersOf(body: Buffer): string[] {
  const info = decodeClusterInfo(body);
  if (typeof info === 'string') return [];
  return info.brokers.flatMap((broker) => broker.brokerAddrs.get(MASTER_ID) ?? []);
}
