/**
 * The store's naive model: a list of what was appended. After any crash the store must hold a prefix of that list which contains all
 * that was reported durable (after a kill: all that was reported at all) and never ends within a decision; queues, derived state
 * and positions must be those of that prefix. Plays random steps against both, crashes included.
 */
import { crc32 } from '@tallystick/base';
import { Packer, Unpacker } from '../../src/store/packing.ts';
import type { RecordView } from '../../src/store/record-view.ts';
import { sinkOf, type AckLevel, type AppendOutcome, type Derived } from '../../src/store/store-types.ts';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import { Prng } from '../../../../test/sim/prng.ts';
import { Machine, messageOf } from './machine.ts';

interface Appended {
  /** Empty for a control record. */
  readonly topic: string;
  readonly queueId: number;
  readonly body: string;
  readonly position: number;
  readonly queueOffset: number;
  /** Records with the same number were appended together. */
  readonly decision: number;
  readonly level: AckLevel;
  outcome: AppendOutcome | 'waiting';
  /** When it was told how it ended. */
  toldAtMs?: number;
  /** A reader has seen it. */
  isShown?: boolean;
}

/** Counts every record and folds its body into one number: a state that is a function of the log. */
export class Tally implements Derived {
  readonly name = 'tally';
  readonly records = 'all';
  count = 0;
  sum = 0;

  apply(record: RecordView): void {
    this.add(record.body);
  }

  add(body: Uint8Array): void {
    this.count++;
    this.sum = (Math.imul(this.sum, 31) + crc32(body)) >>> 0;
  }

  snapshot(): Uint8Array {
    return new Packer().i64(this.count).i64(this.sum).bytes;
  }

  restore(bytes: Uint8Array): void {
    const from = new Unpacker(Buffer.from(bytes));
    this.count = from.i64();
    this.sum = from.i64();
  }
}

export class Model {
  readonly machine: Machine;
  readonly random: Prng;
  readonly flush: 'sync' | 'async';
  /** What was reported so shortly before a kill may be gone, if nobody has seen it; undefined: nothing may. */
  readonly #killWindowMs: number | undefined;
  #crashedAtMs = 0;
  #appended: Appended[] = [];
  #tally = new Tally();
  #decisions = 0;
  #bodies = 0;
  /** How the last process ended. */
  #ending: 'none' | 'close' | 'kill' | 'power' = 'none';
  isDown = true;
  boots = 0;
  /** What the tests want to have seen. */
  readonly seen = new Map<string, number>();

  /** Nothing is ever deleted. */
  readonly #retains: boolean;

  constructor(seed: number, options: GivenStoreOptions) {
    this.#retains = options.storeMaxBytes === undefined;
    this.random = new Prng(seed);
    this.flush = options.flush ?? 'sync';
    this.#killWindowMs =
      options.transientStorePoolEnable === true ? (options.commitIntervalCommitLog ?? 200) + WRITE_MS : undefined;
    this.machine = new Machine(seed, { ...options, flush: this.flush }, {}, () => {
      this.#tally = new Tally();
      return [this.#tally];
    });
  }

  /** Opens the store; gives false when the machine crashed meanwhile. */
  boot(): boolean {
    const { machine } = this;
    this.isDown = false;
    this.boots++;
    let opened: { error: Error | undefined; notes: readonly string[]; scannedBytes: number } | undefined;
    machine.begin((error, report) => {
      opened = { error, notes: report?.notes ?? [], scannedBytes: report?.scannedBytes ?? 0 };
    });
    if (!this.#until(() => opened !== undefined)) return false;
    if (opened!.error !== undefined) throw opened!.error;
    for (const note of opened!.notes) this.#saw(/^R\d/.exec(note)?.[0] ?? note);
    this.#compare();
    return !this.isDown;
  }

  crash(kind: 'kill' | 'power'): void {
    if (this.isDown) return;
    this.isDown = true;
    if (this.#ending === 'none') this.#crashedAtMs = this.machine.world.timeMs;
    if (this.#ending !== 'power') this.#ending = kind;
    this.#saw(kind);
    if (kind === 'kill') this.machine.kill();
    else this.machine.powerCut();
  }

  /** One random step. */
  step(): void {
    const roll = this.random.below(100);
    if (roll < 55) this.#append();
    else if (roll < 63) this.#appendTogether();
    else if (roll < 70) this.#appendControl();
    else if (roll < 78) this.#readSome();
    else if (roll < 86) this.machine.run(this.random.below(4));
    else if (roll < 90) this.machine.run(this.random.below(400));
    else if (roll < 92) this.machine.store.snapshotNow(() => {});
    else if (roll < 94) this.#settle();
    else if (roll < 95) this.close();
    else if (roll < 96) this.#fill();
    else this.crash(this.random.chance(0.5) ? 'kill' : 'power');
  }

  /** A clean end; gives false when the machine crashed meanwhile. */
  close(): boolean {
    let closed: { error: Error | undefined } | undefined;
    this.machine.store.close((error) => {
      closed = { error };
    });
    const isClosed = this.#until(() => closed !== undefined);
    if (!isClosed) return false;
    if (closed!.error !== undefined) throw closed!.error;
    this.isDown = true;
    this.#ending = 'close';
    this.machine.kill();
    return true;
  }

  #settle(): void {
    this.#until(() => this.#appended.every((record) => record.outcome !== 'waiting'));
  }

  /** The disk is full for a while. */
  #fill(): void {
    const { disk } = this.machine;
    disk.full = true;
    for (let left = this.random.between(5, 40); left > 0 && !this.isDown; left--) {
      if (this.random.chance(0.8)) this.#append();
      else this.machine.run(this.random.below(30));
    }
    disk.full = false;
    if (!this.isDown && this.random.chance(0.5)) this.machine.run(2500);
  }

  #until(done: () => boolean): boolean {
    this.machine.until(() => this.isDown || done());
    return !this.isDown;
  }

  #append(): void {
    this.#decisions++;
    const topic = this.random.pick(['orders', 'orders', 'payments']);
    this.#message(topic, this.random.below(3), this.random.chance(0.2) ? 'synced' : 'flush');
  }

  #appendTogether(): void {
    this.#decisions++;
    const count = this.random.between(2, 6);
    const outcome = this.machine.store.together(count * 1500, false, () => {
      for (let n = 0; n < count; n++) {
        if (this.random.chance(0.3)) this.#control('flush');
        else this.#message('together', 0, 'flush');
      }
    });
    if (outcome === 'failed' || outcome === 'closed') throw new Error(`together: ${outcome}`);
  }

  #appendControl(): void {
    this.#decisions++;
    this.#control(this.random.pick(['flush', 'synced']));
  }

  #message(topic: string, queueId: number, level: AckLevel): void {
    const body = this.#body();
    const m = messageOf(this.machine.store, topic, queueId, body);
    const record: { -readonly [K in keyof Appended]: Appended[K] } = {
      topic,
      queueId,
      body,
      position: -1,
      queueOffset: -1,
      decision: this.#decisions,
      level,
      outcome: 'waiting',
    };
    const accepted = this.machine.store.append(
      m,
      level,
      sinkOf((outcome) => this.#told(record, outcome)),
      0,
    );
    if (!accepted) return;
    record.position = m.position;
    record.queueOffset = m.queueOffset;
    this.#appended.push(record);
  }

  #control(level: AckLevel): void {
    const record: { -readonly [K in keyof Appended]: Appended[K] } = {
      topic: '',
      queueId: -1,
      body: this.#body(),
      position: -1,
      queueOffset: -1,
      decision: this.#decisions,
      level,
      outcome: 'waiting',
    };
    record.position = this.machine.store.appendControl(
      1000,
      1,
      Buffer.from(record.body),
      level,
      sinkOf((outcome) => this.#told(record, outcome)),
      0,
    );
    if (record.position >= 0) this.#appended.push(record);
  }

  #told(record: { outcome: AppendOutcome | 'waiting'; toldAtMs?: number }, outcome: AppendOutcome): void {
    if (record.outcome !== 'waiting') throw new Error(`an append was told twice: ${record.outcome}, ${outcome}`);
    if (outcome === 'failed' || outcome === 'too-large') throw new Error(`an append ended as ${outcome}`);
    record.outcome = outcome;
    record.toldAtMs = this.machine.world.timeMs;
    this.#saw(outcome);
  }

  #body(): string {
    const size = this.random.pick([0, 1, 10, 50, 100, 200, 200, 400, 1000]);
    return `${this.#bodies++}:`.padEnd(size, 'abcdefgh');
  }

  #readSome(): void {
    const queues = [...this.machine.store.queues()].filter((queue) => queue.maxOffset > 0);
    if (queues.length === 0) return;
    const { topic, queueId, minOffset, maxOffset } = this.random.pick(queues);
    if (minOffset === maxOffset) return;
    const expected = this.#queueOf(topic, queueId);
    if (maxOffset > expected.length) throw new Error(`${topic}:${queueId} shows ${maxOffset} of ${expected.length} messages`);
    const offset = this.random.between(minOffset, maxOffset - 1);
    let answered = false;
    this.machine.store.read(
      { queue: this.machine.store.queue(topic, queueId), offset, maxCount: 8, maxBytes: 4096 },
      (result) => {
        answered = true;
        if (result.status === 'too-small' && !this.#retains) return;
        if (result.status !== 'found')
          throw new Error(`read of ${topic}:${queueId}:${offset}: ${result.status} ${result.reason ?? ''}`);
        const bytes = Buffer.concat(result.chunks);
        let at = 0;
        for (let n = 0; n < result.count; n++) {
          const record = expected[offset + n]!;
          const length = bytes.readInt32BE(at + 84);
          const body = bytes.toString('utf8', at + 88, at + 88 + length);
          if (body !== record.body)
            throw new Error(`${topic}:${queueId}:${offset + n} is ${body.slice(0, 12)}, not ${record.body.slice(0, 12)}`);
          record.isShown = true;
          at += bytes.readInt32BE(at);
        }
        this.#saw('read');
      },
    );
    this.#until(() => answered);
  }

  #queueOf(topic: string, queueId: number): Appended[] {
    return this.#appended.filter((record) => record.topic === topic && record.queueId === queueId);
  }

  /** The store was opened: what it holds must be a lawful prefix. From then on it is the truth. */
  #compare(): void {
    const kept = this.#tally.count;
    const appended = this.#appended;
    if (kept > appended.length) throw new Error(`${kept} records found, ${appended.length} were appended`);
    const lost = appended.slice(kept);
    for (const record of lost) {
      const isDurable =
        record.outcome === 'ok' &&
        (this.flush === 'sync' || record.level === 'synced' || (this.#ending === 'kill' && this.#survivesKill(record)));
      if (record.outcome === 'ok' && this.#ending === 'kill' && !isDurable) this.#saw('acked and lost by a kill');
      if (isDurable || this.#ending === 'close')
        throw new Error(
          `lost after ${this.#ending}: ${record.topic}:${record.queueId} offset ${record.queueOffset} at ${record.position}, reported ${record.outcome}`,
        );
    }
    if (lost.length > 0 && kept > 0 && appended[kept - 1]!.decision === lost[0]!.decision)
      throw new Error('half a decision was kept');
    if (lost.length > 0) this.#saw('lost');
    // What was found is durable from now on, whatever was known about it.
    this.#appended = appended.slice(0, kept).map((record) => ({ ...record, outcome: 'ok', level: 'synced' }));
    const expected = new Tally();
    for (const record of this.#appended) expected.add(Buffer.from(record.body));
    if (expected.sum !== this.#tally.sum) throw new Error('the derived state is not that of the log');
    this.#ending = 'none';
    const topics = new Set(
      this.#appended.filter((record) => record.topic !== '').map(({ topic, queueId }) => `${topic}/${queueId}`),
    );
    for (const name of topics) {
      const [topic, queueId] = name.split('/') as [string, string];
      const queue = this.machine.store.queue(topic, Number(queueId));
      const messages = this.#queueOf(topic, Number(queueId));
      if (
        queue.maxOffset !== messages.length ||
        queue.nextOffset !== messages.length ||
        (queue.minOffset !== 0 && this.#retains)
      ) {
        throw new Error(
          `${name} has offsets ${queue.minOffset} to ${queue.maxOffset} (${queue.nextOffset}), expected 0 to ${messages.length}`,
        );
      }
      if (this.random.chance(0.3)) this.#readQueue(topic, Number(queueId), messages);
      if (this.isDown) return;
    }
  }

  /** What a store without a pool reports lies in the page cache; with one only what was committed does. */
  #survivesKill({ isShown, toldAtMs }: Appended): boolean {
    if (this.#killWindowMs === undefined) return true;
    return isShown === true || (toldAtMs ?? Infinity) < this.#crashedAtMs - this.#killWindowMs;
  }

  #readQueue(topic: string, queueId: number, expected: readonly Appended[]): void {
    let offset = this.machine.store.queue(topic, queueId).minOffset;
    while (offset < expected.length && !this.isDown) {
      let next = -1;
      this.machine.store.read(
        { queue: this.machine.store.queue(topic, queueId), offset, maxCount: 32, maxBytes: 8192 },
        (result) => {
          if (result.status === 'too-small' && !this.#retains) {
            next = result.nextOffset;
            return;
          }
          if (result.status !== 'found')
            throw new Error(`read of ${topic}:${queueId}:${offset}: ${result.status} ${result.reason ?? ''}`);
          const bytes = Buffer.concat(result.chunks);
          let at = 0;
          for (let n = 0; n < result.count; n++) {
            const record = expected[offset + n]!;
            const position = bytes.readUInt32BE(at + 28) * 4294967296 + bytes.readUInt32BE(at + 32);
            const body = bytes.toString('utf8', at + 88, at + 88 + bytes.readInt32BE(at + 84));
            if (body !== record.body || position !== record.position)
              throw new Error(`${topic}:${queueId}:${offset + n} at ${position} differs`);
            at += bytes.readInt32BE(at);
          }
          next = result.nextOffset;
        },
      );
      if (!this.#until(() => next >= 0)) return;
      offset = next;
    }
  }

  #saw(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
  }
}

/** Longer than any write of the simulated disk takes, two of them in a row. */
const WRITE_MS = 20;

/** A whole life: random steps, with the crashes that `crashAt` asks for on top. */
export function live(
  seed: number,
  options: GivenStoreOptions,
  steps: number,
  crashAt?: { readonly calls: readonly number[]; readonly kind: 'kill' | 'power' },
): Model {
  const model = new Model(seed, options);
  const { machine } = model;
  if (crashAt !== undefined) {
    machine.disk.onCall = (call) => {
      if (crashAt.calls.includes(call.index))
        machine.world.after(call.latencyMs * machine.world.random.unit() * 1.2, () => model.crash(crashAt.kind));
      return undefined;
    };
  }
  let left = steps;
  for (let boots = 0; left > 0; boots++) {
    if (boots > steps + 50) throw new Error('the store does not come up');
    if (!model.boot()) continue;
    while (left > 0 && !model.isDown) {
      left--;
      model.step();
    }
  }
  if (model.isDown) while (!model.boot());
  while (!model.close()) while (!model.boot());
  while (!model.boot());
  return model;
}
