/**
 * Actors that use the shipped client: producers, transaction producers and consumers. Each lives in a process of its own that can
 * be killed; what its user would have in a database (the truth of each half message) survives in the ledger.
 */
import { ClientCore } from '../../packages/client/src/client-core.ts';
import { queueKey, type Intent } from '../checkers/ledger.ts';
import type { Prng } from './prng.ts';
import { ADDRESS, TOPIC, bodyOf, checksum, nextId, positionOf, type Actor, type Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

const PRODUCER_TIMES = {
  requestTimeoutMs: 300,
  deliveryTimeoutMs: 2000,
  maxBlockMs: 2000,
  retryBackoffMs: 5,
  retryBackoffMaxMs: 50,
};

abstract class ClientActor implements Actor {
  abstract readonly name: string;
  protected readonly stage: Stage;
  protected readonly random: Prng;
  protected owner!: SimProcess;
  protected client!: ClientCore;
  #lives = 0;

  constructor(stage: Stage) {
    this.stage = stage;
    this.random = stage.world.random.fork();
  }

  begin(): void {
    const { world, network } = this.stage;
    this.owner = world.process(`${this.name}#${++this.#lives}`);
    this.client = new ClientCore(
      { ...this.owner.ports, dialer: network.dialer(this.owner) },
      {
        address: ADDRESS,
        clientId: `${this.name}#${this.#lives}`,
        connectTimeoutMs: 200,
        requestTimeoutMs: 300,
        reconnectFirstMs: 5,
        reconnectMaxMs: 50,
        heartbeatIntervalMs: 200,
        routeIntervalMs: 500,
        routeRetryMs: 10,
        startTimeoutMs: 600_000,
      },
    );
    this.live();
  }

  restart(): void {
    this.owner.kill();
    this.died();
    this.begin();
  }

  abstract atRest(): boolean;
  protected abstract live(): void;
  protected died(): void {}

  protected later(ms: number, run: () => void): void {
    this.stage.world.after(ms, run, this.owner);
  }
}

/**
 * Sends plain messages, alone and in bursts that the accumulator makes batches of. By the seed, its requests are numbered, its memory is short,
 * or its batches are larger than a segment of the log and have to be cut.
 */
export class ProducerActor extends ClientActor {
  readonly name: string;
  readonly #kind: number;
  #seen = { splits: 0, retries: 0, bufferExhausted: 0 };
  #pending = new Set<Intent>();
  #producer!: ReturnType<ClientCore['producer']>;

  constructor(stage: Stage, index: number) {
    super(stage);
    this.name = `producer${index}`;
    this.#kind = stage.plan.seed + index;
  }

  atRest(): boolean {
    return this.#pending.size === 0;
  }

  waitsFor(): string {
    return `${this.#pending.size} sends`;
  }

  protected override live(): void {
    const batching = this.random.chance(this.stage.plan.batches);
    this.#producer = this.client.producer({
      ...PRODUCER_TIMES,
      group: 'plain',
      lingerMs: batching ? 2 : 0,
      batchSizeBytes: this.random.pick([0, 500, 4000]),
      bufferMemoryBytes: 65_536,
      idempotence: this.stage.plan.numbering,
    });
    this.#work();
  }

  protected override died(): void {
    this.#pending.clear();
  }

  #work(): void {
    const { plan, chaos } = this.stage;
    if (!chaos) return;
    this.later(this.random.unit() * 2 * plan.sendEveryMs, () => this.#work());
    const count = this.random.chance(plan.batches) ? this.random.between(2, 8) : 1;
    this.stage.coverage.hit('burst sent', count - 1);
    this.#look();
    for (let n = 0; n < count; n++) this.#send();
  }

  #look(): void {
    const { coverage } = this.stage;
    const { splits, retries, bufferExhausted } = this.#producer.metrics();
    coverage.hit('batch cut in two', splits - this.#seen.splits);
    coverage.hit(this.#kind % 3 === 0 ? 'numbered send repeated' : 'refused send repeated', retries - this.#seen.retries);
    coverage.hit('send waited for memory', bufferExhausted - this.#seen.bufferExhausted);
    this.#seen = { splits, retries, bufferExhausted };
  }

  #send(): void {
    const { plan, ledger, world, coverage } = this.stage;
    const id = nextId(plan.seed);
    const value = bodyOf(id, this.random, plan.bodyBytesMax);
    const intent = ledger.invoke(id, TOPIC, checksum(value), world.timeMs, false);
    this.#pending.add(intent);
    const queueId = this.random.chance(0.7) ? this.random.below(plan.queues) : undefined;
    this.#producer.send(
      { topic: TOPIC, id, value, queueId, tag: this.random.chance(0.5) ? 'T' : undefined },
      (error, receipt) => {
        this.#pending.delete(intent);
        if (error === undefined) {
          coverage.hit('send confirmed');
          ledger.confirm(intent, world.timeMs, receipt.queueId, receipt.offset, positionOf(receipt.offsetMessageId));
        } else if (error.outcome === 'unknown') {
          coverage.hit('send unknown');
          ledger.answer(intent, 'unknown', world.timeMs);
        } else {
          coverage.hit('send rejected');
          ledger.answer(intent, 'rejected', world.timeMs);
        }
      },
    );
  }
}

/** Half first, then the user's own transaction, then a verdict that may be lost: the check-back asks again. */
export class TransactionActor extends ClientActor {
  readonly name: string;
  #pending = new Set<Intent>();
  #group: string;
  #producer!: ReturnType<ClientCore['transactionProducer']>;

  constructor(stage: Stage, index: number) {
    super(stage);
    this.name = `bank${index}`;
    this.#group = this.name;
  }

  atRest(): boolean {
    return this.#pending.size === 0;
  }

  waitsFor(): string {
    return `${this.#pending.size} halves`;
  }

  protected override live(): void {
    const { coverage, ledger, plan } = this.stage;
    this.#producer = this.client.transactionProducer({
      ...PRODUCER_TIMES,
      group: this.#group,
      listener: {
        check: (message, answer) => {
          coverage.hit('check-back sent');
          const intent = ledger.intents.get(message.id);
          const open =
            intent === undefined || intent.truth === 'undecided' || (this.stage.chaos && this.random.chance(plan.checkUnknown));
          if (open) coverage.hit('check-back answered unknown');
          const verdict = open ? 'unknown' : intent.truth === 'commit' ? 'commit' : 'rollback';
          this.later(this.random.below(5), () => answer(verdict));
        },
      },
    });
    this.#begin();
  }

  /** A program that cannot reach the broker at its start tries again: without it nobody could answer for its group. */
  #begin(): void {
    this.#producer.start((error) => {
      if (error === undefined) this.#work();
      else this.later(50, () => this.#begin());
    });
  }

  /** What was between half and verdict when the process died ends as a rolled-back local transaction. */
  protected override died(): void {
    for (const intent of this.#pending) this.stage.ledger.decide(intent, 'rollback');
    this.#pending.clear();
  }

  #work(): void {
    const { plan, chaos } = this.stage;
    if (!chaos) return;
    this.later(this.random.unit() * 4 * plan.sendEveryMs, () => this.#work());
    this.#transfer();
  }

  #transfer(): void {
    const { plan, ledger, world, coverage } = this.stage;
    const id = nextId(plan.seed);
    const value = bodyOf(id, this.random, plan.bodyBytesMax);
    const intent = ledger.invoke(id, TOPIC, checksum(value), world.timeMs, true);
    this.#pending.add(intent);
    this.#producer.half({ topic: TOPIC, id, value, queueId: this.random.below(plan.queues) }, (error, half) => {
      if (error !== undefined) {
        this.#pending.delete(intent);
        ledger.answer(intent, error.outcome === 'unknown' ? 'unknown' : 'rejected', world.timeMs);
        ledger.decide(intent, 'rollback');
        return;
      }
      ledger.confirm(intent, world.timeMs, -1, -1, -1);
      this.later(this.random.below(this.random.chance(0.1) ? 300 : 10), () => {
        this.#pending.delete(intent);
        const verdict = this.random.chance(plan.rollbacks) ? 'rollback' : 'commit';
        ledger.decide(intent, verdict);
        coverage.hit(verdict === 'commit' ? 'half committed' : 'half rolled back');
        this.#producer.end(half, verdict);
      });
    });
  }
}

/** A member of a consumer group whose handler sometimes fails. */
export class ConsumerActor extends ClientActor {
  readonly name: string;
  readonly #group: string;
  readonly #orderly: boolean;

  constructor(stage: Stage, group: string, index: number, orderly: boolean) {
    super(stage);
    this.name = `${group}${index}`;
    this.#group = group;
    this.#orderly = orderly;
  }

  atRest(): boolean {
    return true;
  }

  protected override live(): void {
    const consumer = this.client.consumer({
      group: this.#group,
      topics: { [TOPIC]: '*' },
      orderly: this.#orderly,
      from: 'first',
      maxReconsumeTimes: this.#orderly ? -1 : 3,
      concurrency: this.random.pick([1, 4]),
      localRetryMs: 20,
      suspendMs: 10,
      pullBatchMessages: this.random.pick([1, 8, 64]),
      pullSuspendMs: 100,
      pullTimeoutMs: 400,
      pullRetryMs: 20,
      rebalanceIntervalMs: 100,
      rebalanceRetryMs: 20,
      commitIntervalMs: 30,
      lockIntervalMs: 100,
      lockLostMs: 400,
      sweepIntervalMs: 50,
      handler: (message, settle) => {
        const { ledger, coverage, chaos, plan } = this.stage;
        const crc = checksum(message.value);
        if (message.storedTopic === TOPIC && !this.#isGone(message))
          ledger.saw({ topic: TOPIC, queueId: message.queueId, offset: message.offset, id: message.id, crc }, this.name);
        else coverage.hit('retry delivered');
        if (this.#orderly && message.storedTopic === TOPIC) this.#checkOrder(message.queueId, message.offset);
        this.later(this.random.below(3), () => {
          if (chaos && this.stage.chaos && this.random.chance(plan.handlerFails)) {
            coverage.hit('handler failed');
            return settle(new Error('the handler fails, as planned'));
          }
          coverage.hit('message consumed');
          ledger.consumed(this.#group, message.id);
          if (this.#orderly) this.#done(message.queueId, message.offset);
          settle();
        });
      },
    });
    consumer.start(() => {});
  }

  /** Orderly consumption never starts a message before the group has finished all before it. */
  #checkOrder(queueId: number, offset: number): void {
    const { plan, ledger, orderlyDone } = this.stage;
    if (plan.storeMaxBytes > 0 || plan.flush === 'async') return;
    const due = orderlyDone.get(queueId) ?? 0;
    if (offset > due)
      ledger.violate('orderly-in-order', `${this.name} starts ${TOPIC}/${queueId}@${offset}, ${due} is not finished`);
  }

  #done(queueId: number, offset: number): void {
    const { orderlyDone } = this.stage;
    if (offset === (orderlyDone.get(queueId) ?? 0)) orderlyDone.set(queueId, offset + 1);
  }

  /** Was it pulled before a power cut in which an async broker lost it? */
  #isGone({
    queueId,
    offset,
    storeTimestamp,
  }: {
    readonly queueId: number;
    readonly offset: number;
    readonly storeTimestamp: number;
  }): boolean {
    const key = queueKey(TOPIC, queueId);
    return this.stage.cuts.some(({ wallMs, ends }) => storeTimestamp <= wallMs && offset >= (ends.get(key) ?? 0));
  }
}
