import type { BrokerData, Peer } from '@tallystick/remoting';
import type { TopicConfig } from '../topics/topic.ts';
import type { DataVersion, RegisterBody } from './register-body.ts';

/** A registration as it arrives. */
export interface Registration {
  readonly brokerName: string;
  readonly clusterName: string;
  /** 0: the master. */
  readonly brokerId: number;
  readonly address: string;
  /** Silence after which it counts as gone, when it says so itself. */
  readonly timeoutMs: number | undefined;
  readonly peer: Peer;
}

/**
 * The brokers that use this one as their name server. Each repeats its registration every half minute; it is dropped when it says goodbye, when
 * its connection closes, or after {@link RegisteredLimits.brokerExpiryMs} of silence. Kept in memory only: after a restart they come again.
 */
export class RegisteredBrokers {
  readonly #limits: RegisteredLimits;
  readonly #ownName: string;
  readonly #brokers = new Map<string, Broker>();

  constructor(limits: RegisteredLimits, ownName: string) {
    this.#limits = limits;
    this.#ownName = ownName;
  }

  /** Takes a broker in, or what has changed about it; a sentence when it may not come in. */
  register(registration: Registration, body: RegisterBody | undefined, nowMs: number): string | undefined {
    const { brokerName, clusterName, brokerId, address, peer, timeoutMs } = registration;
    if (brokerName === this.#ownName)
      return `${brokerName} is the name of the broker that serves this name server; start the other with another brokerName (--broker-name)`;
    let broker = this.#brokers.get(brokerName);
    const known = broker?.nodes.get(brokerId);
    if (known !== undefined && known.address !== address)
      return `${brokerName} is already registered by ${known.address}; start ${address} with another brokerName (--broker-name)`;
    if (broker === undefined) {
      const { registeredBrokersMax } = this.#limits;
      if (this.#brokers.size >= registeredBrokersMax) return `too many brokers: ${this.#brokers.size} (registeredBrokersMax)`;
      broker = { name: brokerName, cluster: clusterName, nodes: new Map(), topics: new Map(), version: undefined };
      this.#brokers.set(brokerName, broker);
    }
    broker.cluster = clusterName;
    broker.nodes.set(brokerId, { address, peer, dueMs: nowMs + (timeoutMs ?? this.#limits.brokerExpiryMs) });
    // A slave's topics are its master's.
    if (body !== undefined && brokerId === MASTER) {
      broker.topics = body.topics;
      broker.version = body.version;
    }
    return undefined;
  }

  unregister(brokerName: string, brokerId: number, address: string): void {
    const broker = this.#brokers.get(brokerName);
    if (broker?.nodes.get(brokerId)?.address === address) this.#drop(broker, brokerId);
  }

  /** A connection has ended. */
  leave(peer: Peer): void {
    this.#dropNodes((node) => node.peer === peer);
  }

  /** Drops who has been silent too long. */
  expire(nowMs: number): void {
    this.#dropNodes((node) => node.dueMs <= nowMs);
  }

  /** What is known of a broker's topics; also counts as a sign of life. */
  versionOf(brokerName: string, brokerId: number, address: string, nowMs: number): DataVersion | undefined {
    const broker = this.#brokers.get(brokerName);
    const node = broker?.nodes.get(brokerId);
    if (node?.address !== address) return undefined;
    node.dueMs = Math.max(node.dueMs, nowMs + this.#limits.brokerExpiryMs);
    return broker?.version;
  }

  /** The master's address of a broker; '' when there is none. */
  masterOf(brokerName: string): string {
    return this.#brokers.get(brokerName)?.nodes.get(MASTER)?.address ?? '';
  }

  all(): BrokerData[] {
    return [...this.#brokers.values()].map(dataOf);
  }

  /** The brokers that have a topic, with its settings there. */
  withTopic(topic: string): { readonly broker: BrokerData; readonly config: TopicConfig }[] {
    const found = [];
    for (const broker of this.#brokers.values()) {
      const config = broker.topics.get(topic);
      if (config !== undefined) found.push({ broker: dataOf(broker), config });
    }
    return found;
  }

  *topicNames(): Generator<string> {
    for (const { topics } of this.#brokers.values()) yield* topics.keys();
  }

  #dropNodes(isGone: (node: Node) => boolean): void {
    for (const broker of [...this.#brokers.values()])
      for (const [id, node] of [...broker.nodes]) if (isGone(node)) this.#drop(broker, id);
  }

  #drop(broker: Broker, brokerId: number): void {
    broker.nodes.delete(brokerId);
    if (broker.nodes.size === 0) this.#brokers.delete(broker.name);
  }
}

export interface RegisteredLimits {
  readonly registeredBrokersMax: number;
  readonly brokerExpiryMs: number;
}

interface Broker {
  readonly name: string;
  cluster: string;
  readonly nodes: Map<number, Node>;
  topics: ReadonlyMap<string, TopicConfig>;
  version: DataVersion | undefined;
}

interface Node {
  readonly address: string;
  readonly peer: Peer;
  dueMs: number;
}

const MASTER = 0;

function dataOf({ cluster, name, nodes }: Broker): BrokerData {
  return { cluster, brokerName: name, brokerAddrs: new Map([...nodes].map(([id, { address }]) => [String(id), address])) };
}
