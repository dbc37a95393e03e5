/** Asks the broker, now and then, how far each consumer group has come: what it answers once, it may never take back. */
import { Probe } from '../checkers/probe.ts';
import type { Prng } from './prng.ts';
import { ADDRESS, TOPIC, type Actor, type Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

const QUERY_CONSUMER_OFFSET = 14;
const GET_MAX_OFFSET = 30;
const NONE = new Uint8Array(0);

export class Prober implements Actor {
  readonly name = 'prober';
  readonly #stage: Stage;
  readonly #groups: readonly string[];
  readonly #random: Prng;
  readonly #owner: SimProcess;
  readonly #probe: Probe;

  constructor(stage: Stage, groups: readonly string[]) {
    this.#stage = stage;
    this.#groups = groups;
    this.#random = stage.world.random.fork();
    this.#owner = stage.world.process(this.name);
    this.#probe = new Probe(stage.network.dialer(this.#owner), this.#owner.ports.timers, ADDRESS, 500);
  }

  begin(): void {
    this.#stage.world.after(this.#random.between(10, 100), () => this.#ask(), this.#owner);
  }

  atRest(): boolean {
    return true;
  }

  #ask(): void {
    if (!this.#stage.chaos) return;
    const consumerGroup = this.#random.pick(this.#groups);
    const queueId = this.#random.below(this.#stage.plan.queues);
    this.#probe.call(
      QUERY_CONSUMER_OFFSET,
      { consumerGroup, topic: TOPIC, queueId, setZeroIfNotFound: false },
      NONE,
      (answer) => {
        this.begin();
        if (answer?.code !== 0) return;
        this.#stage.coverage.hit('consumer offset read');
        const offset = Number(answer.fields['offset']);
        this.#probe.call(GET_MAX_OFFSET, { topic: TOPIC, queueId, committed: true }, NONE, (end) => {
          const maxOffset = end?.code === 0 ? Number(end.fields['offset']) : -1;
          this.#stage.ledger.offsetRead(consumerGroup, TOPIC, queueId, offset, maxOffset);
        });
      },
    );
  }
}
