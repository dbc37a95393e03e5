/**
 * Traffic against a broker whose power will be cut, and the reading afterwards. Notes where each acknowledged message was said to
 * lie; plain messages go through the callback path with a bounded number in flight, transactions one after the other.
 */
import { Client, type ConsumedMessage } from '@tallystick/client';

export const topics = ['plain-a', 'plain-b'] as const;
export const transactionTopic = 'transactions';

/** Reading ends when nothing new has come for so long. */
const quietAfterMs = 20_000;

/** What was acknowledged so far, over all cycles. */
export class Acknowledged {
  /** `topic/queue@offset` → the message's own text. */
  readonly places = new Map<string, string>();
  /** Texts of transactions whose commit was answered: they have no place yet, only the promise. */
  readonly commits = new Set<string>();

  get count(): number {
    return this.places.size + this.commits.size;
  }
}

/** Sends until `stop`; every acknowledgement lands in `acknowledged`, errors are expected once the power is gone. */
export class Load {
  readonly #client: Client;
  readonly #acknowledged: Acknowledged;
  readonly #cycle: string;
  readonly #inFlightMax: number;
  #sent = 0;
  #inFlight = 0;
  #running = true;
  /** What went wrong before the power was cut. */
  #problem: unknown;
  /** Called once when so many plain messages and so many commits have been acknowledged in all. */
  #goal: { plain: number; commits: number; reached: () => void } | undefined;

  constructor(address: string, acknowledged: Acknowledged, cycle: string, inFlightMax: number) {
    this.#client = new Client({ address });
    this.#acknowledged = acknowledged;
    this.#cycle = cycle;
    this.#inFlightMax = inFlightMax;
  }

  /** Starts and resolves when so many plain messages and transactions of this cycle have been acknowledged. */
  async until(plain: number, commits: number): Promise<void> {
    const { places, commits: committed } = this.#acknowledged;
    const reached = new Promise<void>((resolve) => {
      this.#goal = { plain: places.size + plain, commits: committed.size + commits, reached: resolve };
    });
    const producer = this.#client.producer();
    const send = (): void => {
      while (this.#running && this.#inFlight < this.#inFlightMax) {
        const n = this.#sent++;
        const topic = topics[n % topics.length] ?? topics[0];
        const text = `${this.#cycle}:${n}:${'x'.repeat((n * 37) % 900)}`;
        this.#inFlight++;
        producer.sendWith({ topic, key: String(n % 100), value: text }, (error, receipt) => {
          this.#inFlight--;
          if (error === undefined) this.#acknowledged.places.set(`${topic}/${receipt.queueId}@${receipt.offset}`, text);
          this.#look();
          if (error === undefined || this.#running) setImmediate(send);
        });
      }
    };
    send();
    void this.#transact();
    await reached;
  }

  /** No new sends; what arrives until the loop is quiet still counts. */
  async drain(): Promise<void> {
    this.#running = false;
    if (this.#problem !== undefined) throw this.#problem;
    for (let quiet = 0, before = -1; quiet < 3;) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      quiet = this.#acknowledged.count === before ? quiet + 1 : 0;
      before = this.#acknowledged.count;
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #transact(): Promise<void> {
    try {
      const producer = this.#client.transactionProducer({ group: 'powercut', listener: { check: () => 'rollback' } });
      await producer.start();
      for (let n = 0; this.#running; n++) {
        const text = `${this.#cycle}:transaction:${n}`;
        try {
          const half = await producer.half({ topic: transactionTopic, value: text });
          await half.commit({ confirmed: true });
        } catch (error) {
          // A disk that is slow can cost an answer: nothing was promised then.
          if ((error as { outcome?: string }).outcome === 'unknown') continue;
          throw error;
        }
        this.#acknowledged.commits.add(text);
        this.#look();
      }
    } catch (error) {
      if (this.#running) this.#problem = error;
    }
  }

  #look(): void {
    const { places, commits } = this.#acknowledged;
    if (this.#goal === undefined || places.size < this.#goal.plain || commits.size < this.#goal.commits) return;
    this.#goal.reached();
    this.#goal = undefined;
  }
}

/** What was acknowledged and is not there. */
export interface Missing {
  plain: readonly string[];
  commits: readonly string[];
}

/** Reads everything with a new group, until all that was promised has been seen or nothing new has come for a while. */
export async function missing(address: string, acknowledged: Acknowledged, group: string): Promise<Missing> {
  const client = new Client({ address });
  const places = new Map<string, string>();
  const committed = new Set<string>();
  const handler = (message: ConsumedMessage): void => {
    places.set(`${message.topic}/${message.queueId}@${message.offset}`, message.value.toString());
    if (message.topic === transactionTopic) committed.add(message.value.toString());
  };
  const subscriptions = Object.fromEntries([...topics, transactionTopic].map((topic) => [topic, '*']));
  const consumer = client.consumer({ group, topics: subscriptions, handler, from: 'first' });
  await consumer.start();
  const notSeen = (): Missing => ({
    plain: [...acknowledged.places].filter(([place, text]) => places.get(place) !== text).map(([place]) => place),
    commits: [...acknowledged.commits].filter((text) => !committed.has(text)),
  });
  let since = Date.now();
  for (
    let left = notSeen(), seen = 0;
    left.plain.length + left.commits.length > 0 && Date.now() - since < quietAfterMs;
    left = notSeen()
  ) {
    if (places.size !== seen) since = Date.now();
    seen = places.size;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await client.close();
  return notSeen();
}
