import { SysFlag } from '@tallystick/remoting';
import { ByteReader, ByteWriter } from '../byte-pages.ts';
import { ControlType } from '../store/control-records.ts';
import type { RecordView } from '../store/record-view.ts';
import type { Derived } from '../store/store-types.ts';
import { HALF_TOPIC } from '../topics/system-topics.ts';
import { ArrivingHalf } from './arriving-half.ts';
import { PARKED_COUNT, readCheckCounts, readRollback } from './half-records.ts';
import { readFacts } from './half-snapshot.ts';
import { readSecondFacts } from './half-snapshot-second.ts';
import { HalfTable } from './half-table.ts';
import { PropertyScan, Slot } from '../property-scan.ts';

/**
 * Keeps the half table equal to what the log says: a half message opens a row, a final message (transaction type 8) or a rollback
 * record settles one, check counts count and park. The same code runs at append and in recovery, so a restart cannot decide
 * differently; that every path to a verdict goes through an append is what makes the first definite answer win.
 */
export class HalfState implements Derived {
  readonly name = 'half-messages';
  readonly records = 'all';
  readonly interest = { topic: HALF_TOPIC, sysFlagBits: SysFlag.TRANSACTION_MASK };
  readonly table = new HalfTable();
  /** Set around a commit's append: the row that the final message settles, so that it need not be searched. */
  committing = -1;
  /** Set around a half's append by who has read its properties. */
  arriving: ArrivingHalf | undefined;
  readonly #scan = new PropertyScan();
  readonly #read = new ArrivingHalf();

  apply(record: RecordView, live: boolean): void {
    if (record.isControl) this.#applyControl(record);
    else if (live && this.arriving !== undefined) this.#add(record, this.arriving);
    else if ((record.sysFlag & SysFlag.TRANSACTION_MASK) === SysFlag.COMMIT) this.#applyCommit(record, live);
    else if (isHalf(record)) this.#applyHalf(record);
  }

  snapshot(): Uint8Array {
    let writer: ByteWriter | undefined;
    this.table.save((bytes) => (writer = new ByteWriter(bytes + 2).u16(SNAPSHOT_VERSION)));
    return writer!.view();
  }

  restore(bytes: Uint8Array): void {
    this.table.clear();
    const reader = new ByteReader(bytes);
    const version = reader.u16();
    if (version === SNAPSHOT_VERSION) this.table.load(reader, readFacts);
    else if (version === SECOND_VERSION) this.table.load(reader, readSecondFacts);
    else if (version === ROWS_VERSION) this.#restoreRows(reader);
    else throw new Error('half messages: snapshot of an unknown version');
  }

  /** The first version: outcomes of each page, then a row for each unsettled half. */
  #restoreRows(reader: ByteReader): void {
    for (let left = reader.u32(); left > 0; left--) {
      const page = reader.i64();
      this.table.restoreOutcomes(page, reader.blob());
    }
    for (let left = reader.u32(); left > 0; left--) {
      const offset = reader.i64();
      const position = reader.i64();
      const storedAtMs = reader.i64();
      const immuneUntilMs = reader.i64();
      const checks = reader.u8();
      const parked = reader.u8() === 1;
      this.table.add(offset, position, storedAtMs, reader.text(), reader.text(), reader.text());
      this.table.setChecks(offset, checks);
      this.table.setImmunity(offset, immuneUntilMs);
      if (parked) this.table.park(offset);
    }
  }

  #applyHalf(record: RecordView): void {
    const half = this.#read;
    const scan = this.#scan.run(record.bytes, record.propertiesStart, record.propertiesEnd);
    half.group = scan.name(Slot.PRODUCER_GROUP);
    half.topic = scan.name(Slot.REAL_TOPIC);
    half.key = record.bytes;
    half.keyStart = Math.max(0, scan.starts[Slot.UNIQUE_KEY]!);
    half.keyEnd = scan.has(Slot.UNIQUE_KEY) ? scan.ends[Slot.UNIQUE_KEY]! : half.keyStart;
    half.immunitySeconds = scan.number(Slot.IMMUNITY_SECONDS);
    this.#add(record, half);
  }

  #add(record: RecordView, { group, topic, key, keyStart, keyEnd, immunitySeconds }: ArrivingHalf): void {
    const { queueOffset, storeTimestamp } = record;
    this.table.addKeyed(queueOffset, record.position, storeTimestamp, group, topic, key, keyStart, keyEnd);
    if (immunitySeconds > 0) this.table.setImmunity(queueOffset, storeTimestamp + immunitySeconds * 1000);
  }

  #applyCommit(record: RecordView, live: boolean): void {
    if (live && this.committing >= 0) this.table.settle(this.committing, 'committed');
    else this.table.settleAt(record.preparedTransactionOffset, 'committed');
  }

  #applyControl(record: RecordView): void {
    if (record.controlType === ControlType.ROLLBACK) this.table.settle(readRollback(record.body).offset, 'rolled-back');
    if (record.controlType === ControlType.CHECK_COUNTS) {
      readCheckCounts(record.body, (offset, count) => {
        if (count === PARKED_COUNT) this.table.park(offset);
        else this.table.setChecks(offset, count);
      });
    }
  }
}

const SNAPSHOT_VERSION = 3;
const SECOND_VERSION = 2;
const ROWS_VERSION = 1;
const HALF_TOPIC_BYTES = Buffer.from(HALF_TOPIC, 'latin1');

/** Compares lengths first: almost every record fails there. */
function isHalf(record: RecordView): boolean {
  const start = record.topicStart;
  return (
    record.topicEnd - start === HALF_TOPIC_BYTES.length &&
    record.bytes.compare(HALF_TOPIC_BYTES, 0, HALF_TOPIC_BYTES.length, start, record.topicEnd) === 0
  );
}
