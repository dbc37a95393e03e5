/**
 * The store alone: appends of all kinds straight into it, reads straight out of it. Faster than the whole and closer to the disk,
 * so that more of the store's states are met per second.
 */
import { AppendMessage } from '../../packages/broker/src/store/append-message.ts';
import type { RecordView } from '../../packages/broker/src/store/record-view.ts';
import { Store } from '../../packages/broker/src/store/store.ts';
import type { AckLevel, AppendOutcome, Derived, RecoveryReport } from '../../packages/broker/src/store/store-types.ts';
import { crc32 } from 'node:zlib';
import type { Disk } from '@tallystick/base';
import type { Intent, QueueRead } from '../checkers/ledger.ts';
import { parseRecords, propertiesText } from '../checkers/probe.ts';
import type { Coverage } from './coverage.ts';
import { killWindowMs, poolOptions } from './plan.ts';
import type { Play, PlayServer } from './play.ts';
import type { Prng } from './prng.ts';
import { TOPIC, bodyOf, nextId, type Actor, type Stage } from './stage.ts';
import type { SimProcess } from './world.ts';

const TALLY_CONTROL = 4000;

export function storePlay(stage: Stage): Play {
  const driver = new StoreDriver(stage);
  return {
    actors: [driver],
    groups: [],
    open: (done) => done(),
    boot: (owner, disk, failed) => driver.boot(owner, disk, failed),
    readAll: (done) => driver.readAll(done),
    deadLetters: (_group, done) => done([]),
  };
}

/** Counts control records and sums their numbers: a state that is a function of the log. */
class Tally implements Derived {
  readonly name = 'tally';
  readonly records = 'control';
  count = 0;
  sum = 0;

  apply(record: RecordView): void {
    if (record.controlType !== TALLY_CONTROL) return;
    this.count++;
    this.sum += record.body.readUInt32BE(0);
  }

  snapshot(): Uint8Array {
    const bytes = Buffer.alloc(16);
    bytes.writeDoubleBE(this.count, 0);
    bytes.writeDoubleBE(this.sum, 8);
    return bytes;
  }

  restore(bytes: Uint8Array): void {
    const view = Buffer.from(bytes);
    this.count = view.readDoubleBE(0);
    this.sum = view.readDoubleBE(8);
  }
}

class StoreDriver implements Actor {
  readonly name = 'store driver';
  readonly #stage: Stage;
  readonly #random: Prng;
  #store: Store | undefined;
  #tally = new Tally();
  #waiting = new Set<object>();
  /** Numbers whose control records were confirmed, and all that were ever appended. */
  #confirmedSum = 0;
  #appendedSum = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#random = stage.world.random.fork();
  }

  begin(): void {}

  atRest(): boolean {
    return this.#waiting.size === 0;
  }

  waitsFor(): string {
    return `${this.#waiting.size} appends`;
  }

  boot(owner: SimProcess, disk: Disk, failed: (reason: string) => void): PlayServer {
    const { plan } = this.#stage;
    this.#waiting.clear();
    const tally = new Tally();
    const store = new Store(
      { disk, ...owner.ports },
      {
        flush: plan.flush,
        ...poolOptions(plan),
        segmentBytes: plan.segmentBytes,
        groupBytes: plan.groupBytes,
        tailBytes: plan.tailBytes,
        blockBytes: 4096,
        pendingBytesMax: 65_536,
        unsyncedBytesMax: 16_384,
        reserveBytes: 16_384,
        spanBytes: 4096,
        spanCacheBytes: 16_384,
        indexCacheBlocks: 4,
        syncIntervalMs: 50,
        syncFlushTimeoutMs: plan.syncFlushTimeoutMs,
        retentionIntervalMs: 20,
        ...(plan.storeMaxBytes > 0 ? { storeMaxBytes: plan.storeMaxBytes } : {}),
        fullRetryMs: 50,
      },
      {},
      { arrived: () => {}, failed, full: (isFull) => (isFull ? undefined : this.#stage.coverage.hit('resumed after full')) },
      [tally],
    );
    let report: RecoveryReport | undefined;
    return {
      lossWindowMs: 50 + 40 * plan.diskSlowness + (plan.pooled ? killWindowMs(plan) : 0),
      start: (done) => {
        store.open((error, found) => {
          if (error !== undefined) return done({ error: { refused: error.kind === 'refused', message: error.message } });
          report = found;
          this.#store = store;
          this.#tally = tally;
          this.#checkTally();
          done({});
          this.#work(owner);
        });
      },
      stop: (done) => store.close(() => done()),
      noteRecovery: (coverage) => noteRecovery(report as RecoveryReport, coverage),
      queueEnds: () => new Map([...store.queues()].map((queue) => [`${queue.topic}/${queue.queueId}`, queue.nextOffset])),
      openHalves: () => 0,
    };
  }

  readAll(done: (reads: QueueRead[]) => void): void {
    const store = this.#store as Store;
    const reads: QueueRead[] = [];
    let left = this.#stage.plan.queues;
    for (let queueId = 0; queueId < this.#stage.plan.queues; queueId++) {
      const queue = store.queue(TOPIC, queueId);
      const { maxOffset } = queue;
      let { minOffset } = queue;
      let records: ReturnType<typeof parseRecords> = [];
      const finish = (read: boolean): void => {
        if (read) reads.push({ topic: TOPIC, queueId, minOffset, maxOffset, records });
        if (--left === 0) done(reads);
      };
      const next = (offset: number): void => {
        if (offset >= maxOffset) return finish(true);
        store.read({ queue, offset, maxCount: 10, maxBytes: 4096 }, (result) => {
          if (result.status === 'too-small') {
            // Deleted while it was being read: from the new beginning.
            minOffset = result.nextOffset;
            records = [];
            return next(minOffset);
          }
          if (result.status !== 'found') {
            this.#stage.world.trace(
              `reading ${queue.topic}/${queueId}@${offset} of ${minOffset}..${maxOffset}: ${result.status} ${result.reason ?? ''}`,
            );
            return finish(false);
          }
          records.push(...parseRecords(Buffer.concat(result.chunks)));
          next(result.nextOffset);
        });
      };
      next(minOffset);
    }
  }

  #work(owner: SimProcess): void {
    const { world, plan } = this.#stage;
    if (!this.#stage.chaos || !owner.alive) return;
    world.after(this.#random.unit() * plan.sendEveryMs, () => this.#work(owner), owner);
    const roll = this.#random.below(20);
    if (roll < 10) this.#append();
    else if (roll < 13) for (let n = this.#random.between(2, 20); n > 0; n--) this.#append();
    else if (roll < 15) this.#control();
    else if (roll < 17) this.#together();
    else if (roll < 19) this.#look();
    else if (this.#random.chance(0.3)) (this.#store as Store).snapshotNow(() => {});
  }

  #append(): void {
    const { ledger, world, coverage } = this.#stage;
    const { m, intent } = this.#message();
    const level: AckLevel = this.#random.chance(0.3) ? 'synced' : 'flush';
    const wait = {};
    this.#waiting.add(wait);
    (this.#store as Store).append(
      m,
      level,
      {
        appended: (_token, outcome, position, queueOffset) => {
          this.#waiting.delete(wait);
          coverage.hit(outcome === 'ok' ? 'send confirmed' : isCertain(outcome) ? 'send rejected' : 'send unknown');
          if (outcome !== 'ok') return ledger.answer(intent, isCertain(outcome) ? 'rejected' : 'unknown', world.timeMs);
          intent.synced = level === 'synced';
          ledger.confirm(intent, world.timeMs, m.queue.queueId, queueOffset, position);
        },
      },
      0,
    );
  }

  #message(): { m: AppendMessage; intent: Intent } {
    const { ledger, plan, world } = this.#stage;
    const id = nextId(plan.seed);
    const body = bodyOf(id, this.#random, plan.bodyBytesMax);
    const m = new AppendMessage();
    m.queue = (this.#store as Store).queue(TOPIC, this.#random.below(plan.queues));
    m.setBody(body);
    m.setProperties(Buffer.from(propertiesText({ UNIQ_KEY: id }).slice(0, -1)));
    return { m, intent: ledger.invoke(id, TOPIC, crc32(body), world.timeMs, false) };
  }

  #control(): void {
    const number = this.#random.below(1000);
    const body = Buffer.alloc(4);
    body.writeUInt32BE(number);
    this.#appendedSum += number;
    const wait = {};
    this.#waiting.add(wait);
    const appended = (_token: number, outcome: AppendOutcome): void => {
      this.#waiting.delete(wait);
      if (outcome === 'ok') this.#confirmedSum += number;
    };
    (this.#store as Store).appendControl(TALLY_CONTROL, 1, body, 'synced', { appended }, 0);
  }

  /** A few messages and a control record that are there together or not at all. */
  #together(): void {
    const store = this.#store as Store;
    const { ledger, world } = this.#stage;
    const parts = [this.#message(), this.#message(), this.#message()];
    const bytes = parts.reduce((sum, { m }) => sum + store.messageBytes(m), 0);
    const answer = store.together(bytes, this.#random.chance(0.5), () => {
      for (const { m, intent } of parts) {
        const wait = {};
        this.#waiting.add(wait);
        store.append(
          m,
          'synced',
          {
            appended: (_token, outcome, position, queueOffset) => {
              this.#waiting.delete(wait);
              intent.synced = true;
              if (outcome === 'ok') ledger.confirm(intent, world.timeMs, m.queue.queueId, queueOffset, position);
              else ledger.answer(intent, isCertain(outcome) ? 'rejected' : 'unknown', world.timeMs);
            },
          },
          0,
        );
      }
      this.#stage.groups.push(parts.map(({ intent }) => intent.id));
    });
    if (answer !== 'ok') for (const { intent } of parts) ledger.answer(intent, 'rejected', world.timeMs);
  }

  /** Reads from somewhere; what is shown counts as shown. */
  #look(): void {
    const store = this.#store as Store;
    const queue = store.queue(TOPIC, this.#random.below(this.#stage.plan.queues));
    const offset = this.#random.between(Math.max(0, queue.minOffset - 1), queue.maxOffset + 1);
    store.read({ queue, offset, maxCount: this.#random.between(1, 8), maxBytes: 2000 }, (result) => {
      if (result.status === 'error') return;
      for (const record of parseRecords(Buffer.concat(result.chunks))) {
        this.#stage.ledger.saw(record, 'a reader');
        if (this.#random.chance(0.2)) this.#lookAgain(record.physicalOffset, record.id);
      }
    });
    if (this.#random.chance(0.2))
      store.offsetByTime(
        queue,
        this.#stage.world.clock.now() - this.#random.below(500),
        this.#random.pick(['lower', 'upper']),
        () => {},
      );
  }

  #lookAgain(position: number, id: string): void {
    (this.#store as Store).readRecord(position, (error, bytes) => {
      if (error !== undefined) return;
      const found = parseRecords(Buffer.from(bytes))[0]?.id;
      if (found !== id) this.#stage.ledger.violate('position-names-one-record', `${position} was ${id}, now ${found}`);
    });
  }

  /** The derived state is the sum of a set of records that contains all confirmed ones. */
  #checkTally(): void {
    const { sum } = this.#tally;
    if (sum < this.#confirmedSum || sum > this.#appendedSum) {
      this.#stage.ledger.violate(
        'derived-state-follows-the-log',
        `sum ${sum}, confirmed ${this.#confirmedSum}, appended ${this.#appendedSum}`,
      );
    }
    this.#appendedSum = sum;
    this.#confirmedSum = sum;
  }
}

/** Outcomes that say: certainly not stored. */
function isCertain(outcome: AppendOutcome): boolean {
  return outcome === 'full' || outcome === 'busy' || outcome === 'too-large' || outcome === 'closed';
}

export function noteRecovery(report: RecoveryReport, coverage: Coverage): void {
  if (report.clean && !report.isNew) coverage.hit('started clean');
  if (report.tornBytes > 0) coverage.hit('torn tail dropped');
  if (report.rewrittenBytes > 0) coverage.hit('suffix rewritten');
  if (report.rebuiltIndexes > 0) coverage.hit('index rebuilt');
  if (report.snapshotPosition >= 0) coverage.hit('snapshot used');
}
