/**
 * Speaks the protocol by hand and does what no client should: sends a half message, then COMMIT and ROLLBACK for it, both two-way, at
 * about the same time and again later. Exactly the first one may be answered with success, whatever dies in between.
 */
import { Probe, propertiesText } from '../checkers/probe.ts';
import type { Intent } from '../checkers/ledger.ts';
import type { Prng } from './prng.ts';
import { ADDRESS, TOPIC, bodyOf, checksum, nextId, positionOf, type Actor, type Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

const SEND_MESSAGE = 10;
const END_TRANSACTION = 37;
const HALF_FLAG = 4;
const COMMIT = 8;
const ROLLBACK = 12;
/** Their producer group: nobody in it can be asked. */
export const CONTESTANTS = 'contestants';
const NONE = new Uint8Array(0);

export class Contestant implements Actor {
  readonly name = 'contestant';
  readonly #stage: Stage;
  readonly #random: Prng;
  readonly #owner: SimProcess;
  readonly #probes: Probe[];
  readonly #open: Half[] = [];

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#random = stage.world.random.fork();
    this.#owner = stage.world.process(this.name);
    const dialer = stage.network.dialer(this.#owner);
    this.#probes = [0, 1].map(() => new Probe(dialer, this.#owner.ports.timers, ADDRESS, 300));
  }

  begin(): void {
    this.#later(this.#random.between(1, 100), () => this.#half());
  }

  atRest(): boolean {
    return this.#open.length === 0;
  }

  waitsFor(): string {
    return `verdicts on ${this.#open.map(({ intent }) => intent.id).join(', ')}`;
  }

  #later(ms: number, run: () => void): void {
    this.#stage.world.after(ms, run, this.#owner);
  }

  #half(): void {
    const { plan, ledger, world } = this.#stage;
    if (!this.#stage.chaos) return;
    this.#later(this.#random.between(20, 200), () => this.#half());
    const id = nextId(plan.seed);
    const body = bodyOf(id, this.#random, plan.bodyBytesMax);
    const queueId = this.#random.below(plan.queues);
    const intent = ledger.invoke(id, TOPIC, checksum(body), world.timeMs, true);
    const properties = propertiesText({ TRAN_MSG: 'true', PGROUP: CONTESTANTS, UNIQ_KEY: id });
    const fields = {
      producerGroup: CONTESTANTS,
      topic: TOPIC,
      defaultTopic: 'TBW102',
      defaultTopicQueueNums: 4,
      queueId,
      sysFlag: HALF_FLAG,
      bornTimestamp: 1,
      flag: 0,
      properties,
      reconsumeTimes: 0,
      unitMode: false,
      batch: false,
    };
    (this.#probes[0] as Probe).call(SEND_MESSAGE, fields, body, (answer) => {
      if (answer?.code !== 0) {
        ledger.answer(intent, 'unknown', world.timeMs);
        ledger.decide(intent, 'rollback');
        return;
      }
      const position = positionOf(answer.fields['msgId'] ?? '');
      ledger.confirm(intent, world.timeMs, queueId, -1, position);
      ledger.decide(intent, 'contested');
      const half: Half = {
        intent,
        fields: {
          producerGroup: CONTESTANTS,
          tranStateTableOffset: Number(answer.fields['queueOffset']),
          commitLogOffset: position,
          fromTransactionCheck: false,
          msgId: id,
          transactionId: id,
        },
        answers: 0,
        lateOnes: 0,
      };
      this.#open.push(half);
      const first = this.#random.pick([COMMIT, ROLLBACK]);
      this.#later(this.#random.below(10), () => this.#verdict(half, first, 0));
      this.#later(this.#random.below(30), () => this.#verdict(half, first === COMMIT ? ROLLBACK : COMMIT, 1));
      if (this.#random.chance(0.3)) this.#later(this.#random.below(60), () => this.#verdict(half, first, this.#random.below(2)));
    });
  }

  /** Asks for a verdict until the broker answers it with yes or no. */
  #verdict(half: Half, verdict: number, probe: number): void {
    (this.#probes[probe] as Probe).call(END_TRANSACTION, { ...half.fields, commitOrRollback: verdict }, NONE, (answer) => {
      const { ledger, coverage } = this.#stage;
      // Code 1 is "the other verdict stands" and also "the store is in trouble": believed once some verdict has been confirmed, or when
      // the half is not there any more, which is only so when it was settled and retention has taken it.
      const isForgotten = this.#stage.plan.storeMaxBytes > 0 && answer?.remark?.startsWith('Find prepared') === true;
      const told = answer?.code === 0 || (answer?.code === 1 && (half.intent.confirmedVerdict !== undefined || isForgotten));
      if (!told) return this.#later(this.#random.between(20, 100), () => this.#verdict(half, verdict, probe));
      if (answer?.code === 0) {
        ledger.verdictConfirmed(half.intent, verdict === COMMIT ? 'commit' : 'rollback');
        coverage.hit('first of two verdicts confirmed');
      } else {
        coverage.hit('second END refused');
      }
      // A late one, perhaps after a restart: what has been confirmed must still stand.
      if (++half.lateOnes < 3) this.#later(this.#random.between(30, 300), () => this.#verdict(half, verdict, probe));
      if (++half.answers >= 2) {
        const at = this.#open.indexOf(half);
        if (at >= 0) this.#open.splice(at, 1);
      }
    });
  }
}

interface Half {
  readonly intent: Intent;
  readonly fields: {
    producerGroup: string;
    tranStateTableOffset: number;
    commitLogOffset: number;
    fromTransactionCheck: boolean;
    msgId: string;
    transactionId: string;
  };
  answers: number;
  lateOnes: number;
}
