/**
 * A producer that numbers its requests and speaks the protocol by hand: it sends each, alone or as a batch, again and again with the same number
 * until it is told where it lies, up to five at a time, over two connections, sometimes twice for no reason. Whatever dies or is lost meanwhile,
 * each message is stored once and in the order of the numbers. Only where the broker may lose what it acknowledged does a new epoch begin.
 */
import { Probe, propertiesText, type ProbeAnswer } from '../checkers/probe.ts';
import type { Intent } from '../checkers/ledger.ts';
import type { Prng } from './prng.ts';
import { ADDRESS, TOPIC, bodyOf, checksum, nextId, positionOf, type Actor, type Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

const SEND_MESSAGE_V2 = 310;
const SEND_BATCH_MESSAGE = 320;
const IN_FLIGHT_MAX = 5;

export class NumberingProducer implements Actor {
  readonly name = 'numbering';
  readonly #stage: Stage;
  readonly #random: Prng;
  #owner!: SimProcess;
  #probes: Probe[] = [];
  #lanes: Lane[] = [];
  #lives = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#random = stage.world.random.fork();
  }

  begin(): void {
    const { world, network, plan } = this.#stage;
    this.#owner = world.process(`${this.name}#${++this.#lives}`);
    const dialer = network.dialer(this.#owner);
    this.#probes = [0, 1].map(() => new Probe(dialer, this.#owner.ports.timers, ADDRESS, 150));
    const producer = `${plan.seed.toString(16)}${this.#lives}`.padStart(32, '0').slice(-32);
    this.#lanes = Array.from({ length: plan.queues }, (_, queueId) => ({
      producer,
      queueId,
      epoch: 0,
      next: 0,
      open: [],
      told: [],
    }));
    this.#work();
  }

  /** Its successor has another id: what was open stays uncertain. */
  restart(): void {
    this.#owner.kill();
    const { ledger, world } = this.#stage;
    for (const { intents } of this.#lanes.flatMap(({ open }) => open))
      for (const intent of intents) ledger.answer(intent, 'unknown', world.timeMs);
    this.begin();
  }

  atRest(): boolean {
    return this.#lanes.every(({ open }) => open.length === 0);
  }

  waitsFor(): string {
    return `${this.#lanes.flatMap(({ open }) => open).length} requests`;
  }

  #later(ms: number, run: () => void): void {
    this.#stage.world.after(ms, run, this.#owner);
  }

  #work(): void {
    const { plan, chaos } = this.#stage;
    if (!chaos) return;
    this.#later(this.#random.unit() * 2 * plan.sendEveryMs, () => this.#work());
    const lane = this.#random.pick(this.#lanes);
    // Counted from the oldest open one: what lies further back the broker has forgotten.
    while (lane.next - (lane.open[0]?.sequence ?? lane.next) < IN_FLIGHT_MAX && this.#random.chance(0.7)) this.#make(lane);
  }

  #make(lane: Lane): void {
    const { plan, ledger, world, groups, coverage } = this.#stage;
    // A batch always fits a segment: one that never can would end the numbers.
    const isBatch = this.#random.chance(0.3) && plan.bodyBytesMax <= 400;
    const count = isBatch ? this.#random.between(2, 4) : 1;
    const bodies: Buffer[] = [];
    const intents: Intent[] = [];
    for (let n = 0; n < count; n++) {
      const id = nextId(plan.seed);
      const body = bodyOf(id, this.#random, plan.bodyBytesMax);
      bodies.push(body);
      intents.push(ledger.invoke(id, TOPIC, checksum(body), world.timeMs, false));
    }
    if (count > 1) {
      groups.push(intents.map(({ id }) => id));
      coverage.hit('numbered batch sent');
    }
    const request: Request = { sequence: lane.next++, bodies, intents, place: undefined };
    lane.open.push(request);
    this.#send(lane, request);
    if (this.#random.chance(0.1)) this.#send(lane, request);
  }

  #send(lane: Lane, request: Request): void {
    const { epoch } = lane;
    const wasFirst = lane.open[0] === request;
    const isBatch = request.bodies.length > 1;
    const mark = `${lane.producer}:${String(epoch).padStart(5, '0')}:${String(request.sequence).padStart(12, '0')}`;
    const properties = request.intents.map(({ id }, n) => propertiesText({ ...(n === 0 ? { TS_SEQ: mark } : {}), UNIQ_KEY: id }));
    // The short names of the second send header: the only ones that a batch may have.
    const fields = {
      a: 'numbering',
      b: TOPIC,
      c: 'TBW102',
      d: 4,
      e: lane.queueId,
      f: 0,
      g: 1,
      h: 0,
      i: isBatch ? '' : properties[0]!,
      j: 0,
      k: false,
      m: isBatch,
    };
    const body = isBatch ? batchBody(request.bodies, properties) : request.bodies[0]!;
    const probe = this.#probes[this.#random.below(2)]!;
    probe.call(isBatch ? SEND_BATCH_MESSAGE : SEND_MESSAGE_V2, fields, body, (answer) => {
      // What comes for an earlier epoch is about a request that has another number by now.
      if (lane.epoch === epoch) this.#answered(lane, request, answer, wasFirst);
    });
  }

  #answered(lane: Lane, request: Request, answer: ProbeAnswer | undefined, wasFirst: boolean): void {
    if (answer?.code === 0) return this.#told(lane, request, answer);
    if (request.place !== undefined) return;
    const reason = answer?.fields['TS_REASON'];
    if (reason === 'OUT_OF_ORDER') this.#stage.coverage.hit('request out of order');
    if (reason === 'OUT_OF_ORDER' && wasFirst) return this.#renew(lane);
    if (reason !== undefined && reason !== 'OUT_OF_ORDER')
      this.#stage.ledger.violate('numbered-is-known', `${reason} for an open request: ${answer?.remark}`);
    this.#later(this.#random.between(5, 60), () => {
      if (lane.open.includes(request)) this.#send(lane, request);
    });
  }

  #told(lane: Lane, request: Request, { fields }: ProbeAnswer): void {
    const { ledger, world, coverage } = this.#stage;
    const place = `${fields['queueOffset']} ${fields['msgId']}`;
    if (request.place !== undefined) {
      coverage.hit('repeated request recognised');
      if (request.place !== place && !this.#mayDiffer(request.place, place))
        ledger.violate('one-answer-per-request', `request ${request.sequence}: ${request.place}, then ${place}`);
      request.place = place;
      return;
    }
    request.place = place;
    lane.open.splice(lane.open.indexOf(request), 1);
    const offset = Number(fields['queueOffset']);
    for (const other of lane.told) {
      if (other.sequence < request.sequence === other.offset < offset) continue;
      ledger.violate(
        'numbered-in-order',
        `request ${request.sequence} at ${offset}, request ${other.sequence} at ${other.offset}`,
      );
    }
    lane.told.push({ sequence: request.sequence, offset });
    const positions = (fields['msgId'] ?? '').split(',').map(positionOf);
    for (const [n, intent] of request.intents.entries()) {
      const position = n > 0 && positions[n] === positions[0] ? -1 : positions[n];
      ledger.confirm(intent, world.timeMs, lane.queueId, offset + n, position ?? -1);
    }
    const { epoch } = lane;
    // Long after: it may have left the window, and then nothing is told.
    if (this.#stage.chaos && this.#random.chance(0.15))
      this.#later(this.#random.between(1, 100), () => {
        if (lane.epoch === epoch && lane.next - request.sequence <= IN_FLIGHT_MAX) this.#send(lane, request);
      });
  }

  /**
   * A broker that may lose what it acknowledged stores the repeat as if it were the first. Where retention has taken the records of a batch, only
   * the place of its first one is known, and stands for all.
   */
  #mayDiffer(before: string, now: string): boolean {
    if (this.#mayLose()) return true;
    const [first = '', ...others] = now.split(' ')[1]?.split(',') ?? [];
    const isFirstOnly = others.every((id) => id === first);
    return this.#stage.plan.storeMaxBytes > 0 && isFirstOnly && before.startsWith(`${now.split(' ')[0]} ${first}`);
  }

  #mayLose(): boolean {
    const { plan, cuts } = this.#stage;
    return plan.flush !== 'sync' && (plan.pooled || cuts.length > 0);
  }

  /** The broker lacks something that it had acknowledged: all that is open gets new numbers. */
  #renew(lane: Lane): void {
    const { ledger, coverage } = this.#stage;
    if (!this.#mayLose())
      ledger.violate('acknowledged-is-remembered', `the first open request to queue ${lane.queueId} is out of order`);
    coverage.hit('numbers begun anew');
    lane.epoch++;
    lane.next = 0;
    lane.told.length = 0;
    for (const request of lane.open) request.sequence = lane.next++;
    for (const request of lane.open) this.#send(lane, request);
  }
}

/** One queue's requests. */
interface Lane {
  readonly producer: string;
  readonly queueId: number;
  epoch: number;
  next: number;
  /** Not told yet, in order. */
  readonly open: Request[];
  readonly told: { readonly sequence: number; readonly offset: number }[];
}

interface Request {
  sequence: number;
  readonly bodies: readonly Buffer[];
  readonly intents: readonly Intent[];
  /** What the first good answer said. */
  place: string | undefined;
}

/** RocketMQ's batch body, written down once more: size, magic 0, crc 0, flag 0, body behind u32, properties behind u16. */
function batchBody(bodies: readonly Buffer[], properties: readonly string[]): Buffer {
  return Buffer.concat(
    bodies.map((body, n) => {
      const text = Buffer.from(properties[n]!, 'latin1');
      const element = Buffer.alloc(22 + body.length + text.length);
      element.writeUInt32BE(element.length, 0);
      element.writeUInt32BE(body.length, 16);
      body.copy(element, 20);
      element.writeUInt16BE(text.length, 20 + body.length);
      text.copy(element, 22 + body.length);
      return element;
    }),
  );
}
