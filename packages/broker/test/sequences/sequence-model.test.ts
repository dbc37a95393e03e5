/**
 * Numbered requests against a naive model that remembers everything: several producers send, repeat, jump ahead and begin new epochs, while the
 * broker is killed, cut from power, restarted and snapshotted in the middle. Whatever was answered, each request is stored exactly once and in order.
 */
import { describe, expect, it } from 'vitest';
import { Prng } from '../../../../test/sim/prng.ts';
import { Stage, type Answer, type TestClient } from '../broker-stage.ts';
import { beginBatch, beginOne, placeOf, waited } from './numbered.ts';

const WINDOW = 5;

interface Request {
  readonly epoch: number;
  readonly sequence: number;
  readonly bodies: readonly string[];
  answer?: Answer;
}

/** One producer's requests to one queue, all of them. */
class Lane {
  readonly producer: string;
  readonly queueId: number;
  readonly stored: Request[] = [];
  epoch = 0;
  #made = 0;

  constructor(producer: string, queueId: number) {
    this.producer = producer;
    this.queueId = queueId;
  }

  get next(): number {
    return this.stored.filter(({ epoch }) => epoch === this.epoch).length;
  }

  make(sequence: number, random: Prng, epoch = this.epoch): Request {
    const count = random.chance(0.4) ? random.between(1, 6) : 0;
    const name = `${this.producer.slice(0, 2)}-${this.queueId}-${this.#made++}`;
    const bodies = count === 0 ? [name] : Array.from({ length: count }, (_, n) => `${name}.${n}`);
    return { epoch, sequence, bodies };
  }

  begin(client: TestClient, { epoch, sequence, bodies }: Request): { answer?: Answer; error?: string } {
    const { producer, queueId } = this;
    const numbered = { sequence, epoch, producer, queueId, topic: 'orders' };
    if (bodies.length === 1 && !bodies[0]!.includes('.'))
      return beginOne(client, bodies[0]!, { ...numbered, props: { UNIQ_KEY: `U${bodies[0]}` } });
    return beginBatch(client, bodies, numbered);
  }

  ask(client: TestClient, request: Request): Answer {
    return waited(client, this.begin(client, request));
  }
}

function play(seed: number, flush: 'sync' | 'async'): void {
  const random = new Prng(seed);
  const stage = new Stage({ flush, segmentBytes: 64 * 1024 }, seed).start();
  let client = stage.client();
  const lanes = ['A1', 'B2', 'C3'].flatMap((name) => [0, 1].map((queueId) => new Lane(name.repeat(16), queueId)));
  const bodiesOf = (queueId: number): string[] => client.bodies('orders', queueId);
  const reborn = (): void => {
    // An async broker keeps what it has acknowledged when it is killed, a synced one also when the power goes.
    if (flush === 'sync' && random.chance(0.5)) stage.powerCut();
    else stage.restart();
    client = stage.client();
  };
  for (let step = 0; step < 80; step++) {
    const lane = random.pick(lanes);
    const kind = random.below(10);
    if (kind < 4) {
      const request = lane.make(lane.next, random);
      request.answer = lane.ask(client, request);
      expect(request.answer.code).toBe(0);
      lane.stored.push(request);
    } else if (kind < 6) {
      // Several in flight; the broker may die under them, and all are sent again in order.
      const requests = Array.from({ length: random.between(1, WINDOW) }, (_, n) => lane.make(lane.next + n, random));
      const waiting = requests.map((request) => lane.begin(client, request));
      stage.run(random.unit() * 3);
      if (random.chance(0.7)) reborn();
      else stage.until(() => waiting.every(({ answer }) => answer !== undefined));
      for (const [n, request] of requests.entries()) {
        const known = waiting[n]!.answer;
        const isKept = known?.code === 0;
        request.answer = lane.ask(client, request);
        expect(request.answer.code).toBe(0);
        if (isKept) expect(placeOf(request.answer)).toEqual(placeOf(known));
        lane.stored.push(request);
      }
    } else if (kind < 8 && lane.stored.length > 0) {
      const request = random.pick(lane.stored);
      const again = lane.ask(client, request);
      const reason = again.fields.get('TS_REASON');
      if (request.epoch < lane.epoch && lane.next > 0) expect(reason).toBe('OLD_EPOCH');
      else if (request.epoch === lane.epoch && request.sequence < lane.next - WINDOW) expect(reason).toBe('DUPLICATE_TOO_OLD');
      else if (request.epoch === lane.epoch) expect(placeOf(again), again.remark).toEqual(placeOf(request.answer!));
    } else if (kind === 8) {
      const ahead = lane.make(lane.next + random.between(1, 3), random);
      expect(lane.ask(client, ahead).fields.get('TS_REASON')).toBe('OUT_OF_ORDER');
      if (random.chance(0.3)) lane.epoch++;
    } else if (random.chance(0.5)) {
      stage.core.snapshot(() => {});
      stage.run(5);
    } else reborn();
  }
  for (const queueId of [0, 1]) {
    const found = bodiesOf(queueId);
    const wanted = lanes.filter((lane) => lane.queueId === queueId);
    for (const lane of wanted) {
      const prefix = `${lane.producer.slice(0, 2)}-`;
      expect(found.filter((body) => body.startsWith(prefix))).toEqual(lane.stored.flatMap(({ bodies }) => bodies));
    }
    expect(found).toHaveLength(wanted.flatMap(({ stored }) => stored).flatMap(({ bodies }) => bodies).length);
  }
}

describe.each(['sync', 'async'] as const)('numbered requests under kills (%s)', (flush) => {
  it.each(Array.from({ length: 12 }, (_, n) => n + 1))('are stored once and in order, seed %i', (seed) => play(seed, flush));
});
